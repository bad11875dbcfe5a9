import type { KeptResource } from '../../controller/bundles.ts';
import { readDocument } from '../../webhook/document.ts';

/** What a resource is changed by. */
export interface Changes {
  readonly spec?: object;
  readonly name?: string;
  readonly namespace?: string;
  readonly generation?: number;
}

/** A Backend for the pods of a namespace, as the controller keeps it. */
export function keptBackend({
  name = 'shop',
  spec = {},
  generation = 1,
}: Changes = {}): KeptResource {
  // prettier-ignore
  const whole = {
    protocol: 'Postgres',
    hosts: [name],
    ports: [5432],
    upstream: { address: 'db.example:5432', tls: { mode: 'Disable' } },
    consumers: [{ namespace: 'agents' }],
    ...spec,
  };
  return keep('Backend', { name }, whole, generation);
}

/** A policy of a namespace. */
export function keptPolicy({
  name = 'agents',
  namespace = 'agents',
  spec = {},
  generation = 1,
}: Changes = {}): KeptResource {
  // prettier-ignore
  const whole = { podSelector: {}, mode: 'Observe', ...spec };
  return keep('AuditPolicy', { name, namespace }, whole, generation);
}

export function keptProvider({ name = 'company', spec = {} }: Changes = {}): KeptResource {
  const whole = { issuer: 'https://login.example', audiences: ['chaperone'], ...spec };
  return keep('IdentityProvider', { name }, whole, 1);
}

function keep(
  kind: string,
  metadata: { readonly name: string; readonly namespace?: string },
  spec: object,
  generation: number,
): KeptResource {
  const document = { apiVersion: 'chaperone.dev/v1alpha1', kind, metadata, spec };
  const { namespace } = metadata;
  const name = [kind, namespace, metadata.name].filter((part) => part !== undefined).join('/');
  return { document, name, namespace, uid: `uid of ${name}`, generation, part: `${name}@${generation}`, ...readDocument(document) }; // prettier-ignore
}

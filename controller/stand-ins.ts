import { isObject } from '#core/policy/fields.ts';
import { parseResource } from '#core/policy/parse.ts';
import type { KeptResource } from './bundles.ts';

/**
 * What counts in the place of a namespace's own policy that means nothing beside the others: first what is closest to it,
 * then what nothing can be looser than. Its author can tighten what the cluster's policies say, and with a mistake may not
 * keep from his pods what they say next.
 */
export function standInsFor(kept: KeptResource, why: string): readonly KeptResource[] {
  const { resource } = kept.parsed;
  const spec = specOf(kept);
  // One that cannot be read could select any pod of its namespace.
  const denying = refusalOf(kept, why, resource && spec['podSelector']);
  if (resource?.kind !== 'AuditPolicy' || resource.spec.mode !== 'Observe') return [denying];
  const { identity: _, ...withoutIdentity } = spec;
  return [withSpec(kept, withoutIdentity), denying];
}

/** A policy of the same name that refuses everything, with why; by default to all pods of its namespace. */
export function refusalOf(
  kept: KeptResource,
  why: string,
  podSelector: unknown = {},
): KeptResource {
  const message = `${kept.name} cannot be applied: ${why}`.replaceAll(/\p{Cc}/gu, ' ');
  return withSpec(kept, {
    podSelector,
    mode: 'Enforce',
    defaultAction: 'Deny',
    unknownHosts: 'Deny',
    rules: [
      {
        name: 'cannot-be-applied',
        backendSelector: {},
        anySubject: true,
        action: 'Deny',
        message: message.slice(0, maxMessage),
      },
    ],
  });
}

/** Of a rule (crds/auditpolicies.yaml). */
const maxMessage = 1_000;

function specOf({ document }: KeptResource): Readonly<Record<string, unknown>> {
  const { spec } = document;
  return typeof spec === 'object' && spec !== null ? { ...spec } : {};
}

function withSpec(kept: KeptResource, spec: object): KeptResource {
  const { apiVersion, kind, metadata } = kept.document;
  const { name, namespace } = isObject(metadata) ? metadata : {};
  // Whatever else it has may be what cannot be read.
  const document = { apiVersion, kind, metadata: { name, namespace }, spec };
  return { ...kept, document, part: '', parsed: parseResource(document) };
}

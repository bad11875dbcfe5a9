import { object, set, text, type FieldReader } from './fields.ts';
import { metadataOf } from './object-names.ts';
import type { IdentityProvider } from './resources.ts';

const claimPath = text('a path of claims such as "act.sub"', /^[^\s.]+(\.[^\s.]+)*$/);
const audience = text('an audience', /^\S+$/);
const url = text(
  'an http or https URL without user or fragment',
  (value) => /^https?:\/\/[^\s/?#@]+[^\s#@]*$/.test(value) && URL.canParse(value),
  2_048,
);
const issuer = text(
  'an http or https URL without user, query or fragment', // OpenID Connect Discovery 1.0 section 3
  (value) => /^https?:\/\/[^\s/?#@]+[^\s?#@]*$/.test(value) && URL.canParse(value),
  2_048,
);

/** Reads an IdentityProvider; undefined where its mistakes leave nothing to go on. */
export function parseIdentityProvider(document: FieldReader): IdentityProvider | undefined {
  const metadata = document.required('metadata', metadataOf(false));
  const spec = document.required('spec', object(identityProviderSpec));
  return metadata && spec && { kind: 'IdentityProvider', metadata, spec };
}

function identityProviderSpec(fields: FieldReader): IdentityProvider['spec'] {
  const spec = {
    issuer: fields.required('issuer', issuer) ?? '',
    audiences: fields.required('audiences', set(audience, 1, 64)) ?? [],
    jwksUri: fields.optional('jwksUri', url),
    claims: fields.optional('claims', object(claims)) ?? {
      user: 'sub',
      groups: 'groups',
      onBehalfOf: undefined,
    },
  };
  fields.unsupported('kubernetesUsername');
  return spec;
}

function claims(fields: FieldReader): IdentityProvider['spec']['claims'] {
  return {
    user: fields.optional('user', claimPath) ?? 'sub',
    groups: fields.optional('groups', claimPath) ?? 'groups',
    onBehalfOf: fields.optional('onBehalfOf', claimPath),
  };
}

import { parseResource } from '#core/policy/parse.ts';
import type { KeptResource } from './bundles.ts';

/**
 * What counts in the place of a namespace's own policy that means nothing beside the others: first what is closest to it,
 * then what nothing can be looser than. Its author can tighten what the cluster's policies say, and with a mistake may not
 * keep from his pods what they say next.
 */
export function standInsFor(kept: KeptResource, why: string): readonly KeptResource[] {
  const { resource } = kept.parsed;
  const observes = resource?.kind === 'AuditPolicy' && resource.spec.mode === 'Observe';
  const denying = withSpec(kept, {
    // One that cannot be read could select any pod of its namespace.
    podSelector: resource ? specOf(kept)['podSelector'] : {},
    mode: 'Enforce',
    defaultAction: 'Deny',
    unknownHosts: 'Deny',
    rules: [
      {
        name: 'cannot-be-applied',
        backendSelector: {},
        anySubject: true,
        action: 'Deny',
        message: `${kept.name} cannot be applied: ${why}`.slice(0, maxMessage),
      },
    ],
  });
  if (!observes) return [denying];
  const { identity: _, ...withoutIdentity } = specOf(kept);
  return [withSpec(kept, withoutIdentity), denying];
}

/** Of a rule (crds/auditpolicies.yaml). */
const maxMessage = 1_000;

function specOf({ document }: KeptResource): Readonly<Record<string, unknown>> {
  const { spec } = document;
  return typeof spec === 'object' && spec !== null ? { ...spec } : {};
}

function withSpec(kept: KeptResource, spec: object): KeptResource {
  const document = { ...kept.document, spec };
  return { ...kept, document, part: '', parsed: parseResource(document) };
}

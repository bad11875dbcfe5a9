/** Kinds of resources of ours, with the names by which the API has them. */
export const plurals = {
  Backend: 'backends',
  IdentityProvider: 'identityproviders',
  AuditPolicy: 'auditpolicies',
  ClusterAuditPolicy: 'clusterauditpolicies',
} as const;

/** A kind of resource of ours. */
export type Kind = keyof typeof plurals;

/** Where the API has them. */
export const apiGroup = { group: 'chaperone.dev', version: 'v1alpha1' } as const;

/** The path of all resources of a kind. */
export function pathOf(kind: Kind): string {
  return `/apis/${apiGroup.group}/${apiGroup.version}/${plurals[kind]}`;
}

/** All kinds. */
export const kinds: readonly Kind[] = [
  'Backend',
  'IdentityProvider',
  'AuditPolicy',
  'ClusterAuditPolicy',
];

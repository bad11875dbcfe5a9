import type { Workload } from '../identity/principal.ts';
import { mayUse, selecting } from './resolve.ts';
import type { Resource } from './resources.ts';

/** Whether a resource is about a pod: a Backend that it may use, a policy that selects it, or an issuer, which all may name. */
export function concerns(resource: Resource, workload: Workload): boolean {
  switch (resource.kind) {
    case 'Backend':
      return mayUse(resource, workload);
    case 'IdentityProvider':
      return true;
    case 'AuditPolicy':
    case 'ClusterAuditPolicy':
      return selecting([resource], workload).length > 0;
  }
}

/**
 * A resource as it is for a pod that its own author can take out of the interception: such an agent is handed nobody else's
 * login, and its own is relayed.
 */
export function withoutLogin(resource: Resource): Resource {
  if (resource.kind !== 'Backend') return resource;
  return { ...resource, spec: { ...resource.spec, credential: undefined } };
}

import { combine } from '#core/policy/combine.ts';
import { selecting } from '#core/policy/resolve.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import type { Cluster } from './cluster.ts';
import { keys } from './names.ts';
import type { Pod } from './pod.ts';
import type { ReviewFacts } from './review.ts';

/**
 * Asks the cluster what counts for a pod beside its own text. Asked anew for each pod: a namespace that was labelled a
 * moment ago is labelled. Rejects where the cluster does not answer, and then nothing is let in.
 */
export async function readFacts(
  cluster: Cluster,
  namespace: string,
  pod: Pod,
): Promise<ReviewFacts> {
  const { runtimeClassName } = pod.spec;
  const [labels, runtimeHandler, policies] = await Promise.all([
    cluster.namespaceLabels(namespace),
    runtimeClassName === undefined ? undefined : cluster.runtimeHandler(runtimeClassName),
    cluster.policies(namespace),
  ]);
  return {
    scope: labels[keys.enforce] === 'true' ? 'namespace' : 'pod',
    mode: labels[keys.mode] === 'explicit' ? 'explicit' : 'transparent',
    runtimeHandler,
    kubeApiToken: false, // no field of a policy allows it yet
    apiAudiences: cluster.apiAudiences,
    inboundPorts: inboundPorts(policies, namespace, pod),
  };
}

/** A policy that cannot be read is in force nowhere, so it opens no port. */
function inboundPorts(
  policies: readonly AuditPolicy[],
  namespace: string,
  { metadata, spec }: Pod,
): readonly number[] {
  const workload = {
    pod: metadata.name ?? metadata.generateName ?? '',
    namespace,
    serviceAccount: spec.serviceAccountName ?? 'default',
    labels: new Map(Object.entries(metadata.labels ?? {})),
  };
  return combine(selecting(policies, workload))?.inboundPorts ?? [];
}

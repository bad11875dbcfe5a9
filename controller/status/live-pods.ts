import type { ClusterState } from '../cluster-state.ts';
import { checkPod, type Accepted } from '../pod-check.ts';
import type { LivePod } from './counts.ts';
import { podKey, type Standings } from './standing.ts';

/** Pods with a sidecar of ours: of those that have reported that is known, and others are looked at once they run. */
export function livePods(
  state: ClusterState,
  accepted: Accepted,
  standings: Standings,
): readonly LivePod[] {
  return [...state.pods].flatMap(({ pod, namespace, uid, isRunning, over }) => {
    const isKnown = standings.has(podKey(uid));
    if (over || !(isKnown || isRunning)) return [];
    if (!isKnown && checkPod(pod, state.namespaceLabels(namespace), accepted).kind === 'other') return []; // prettier-ignore
    const { name = '', labels = {} } = pod.metadata;
    const serviceAccount = pod.spec.serviceAccountName ?? 'default';
    return [{ pod: name, namespace, serviceAccount, labels: new Map(Object.entries(labels)), uid, isRunning }]; // prettier-ignore
  });
}

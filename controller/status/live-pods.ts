import type { ClusterState } from '../cluster-state.ts';
import { checkInspected, type Accepted } from '../pod-check.ts';
import type { LivePod } from './counts.ts';
import { podKey, type Standings } from './standing.ts';

/** Pods with a sidecar of ours: of those that have reported that is known, and others are looked at once they run. */
export function livePods(
  state: ClusterState,
  accepted: Accepted,
  standings: Standings,
): readonly LivePod[] {
  return [...state.pods].flatMap((watched) => {
    const { name, namespace, serviceAccount, labels, uid, inspected, isRunning, over } = watched;
    const isKnown = standings.has(podKey(uid));
    if (over || !(isKnown || isRunning)) return [];
    if (!isKnown && checkInspected(inspected, state.namespaceLabels(namespace), accepted).kind === 'other') return []; // prettier-ignore
    return [{ pod: name, namespace, serviceAccount, labels, uid, isRunning }];
  });
}

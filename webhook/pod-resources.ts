import type { Resources } from './own-parts.ts';
import type { PodResources } from './pod.ts';
import { tryParseQuantity } from './same-part.ts';

/** What our containers ask for. */
export interface OwnResources {
  readonly sidecar: Resources;
  /** Of each container that ends before the agent's begin; undefined where there is none. */
  readonly init: Resources | undefined;
}

/**
 * Says what a pod that states amounts as a whole has to state with our containers in it, or undefined where it states none
 * that concern them. The API server takes no pod whose containers ask for more than the pod does; and what the agent's
 * containers share stays theirs.
 */
export function raiseResources(
  stated: PodResources,
  { sidecar, init }: OwnResources,
): PodResources | undefined {
  const raised = (
    amounts: Readonly<Record<string, unknown>>,
    ours: Readonly<Record<string, string>>,
  ): Readonly<Record<string, unknown>> => {
    const entries = Object.entries(ours).flatMap(([resource, own]): [string, string][] => {
      const [present, more] = [tryParseQuantity(amounts[resource]), tryParseQuantity(own)];
      if (present === undefined || more === undefined) return [];
      const before = tryParseQuantity(init?.requests[resource]) ?? 0;
      return [[resource, quantity(Math.max(present, before) + more)]];
    });
    return { ...amounts, ...Object.fromEntries(entries) };
  };
  const { requests = {}, limits = {} } = stated;
  const isConcerned = [requests, limits].some((amounts) =>
    Object.keys(sidecar.limits).some((resource) => Object.hasOwn(amounts, resource)),
  );
  if (!isConcerned) return undefined;
  return {
    ...stated,
    ...(stated.requests && { requests: raised(requests, sidecar.requests) }),
    ...(stated.limits && { limits: raised(limits, sidecar.limits) }),
  };
}

/** Thousandths are the least that Kubernetes counts; of doubles the last places are none. */
function quantity(amount: number): string {
  return Number.isInteger(amount)
    ? BigInt(amount).toString()
    : `${Math.ceil(Number((amount * 1000).toFixed(6)))}m`;
}

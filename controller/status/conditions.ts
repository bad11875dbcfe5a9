import { isObject } from '#core/policy/fields.ts';
import type { KeptResource } from '../bundles.ts';
import type { Count } from './counts.ts';
import type { Finding, Findings } from './findings.ts';

/** What is said of a resource, in this order. */
export const conditionTypes = ['Accepted', 'ResolvedRefs', 'Programmed'] as const;

/** A condition as the API has it. */
export interface Condition {
  readonly type: (typeof conditionTypes)[number];
  readonly status: Finding['status'];
  /** One of `reasons`, or of those of another release. */
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  /** When `status` last changed; RFC 3339, in whole seconds. */
  readonly lastTransitionTime: string;
}

const maxMessage = 1_000;
const maxNames = 3;

/** Says how far a resource is in force. It is for all sidecars that it concerns, and of none nothing can be said. */
export function judgeProgrammed(count: Count, generation: number): Finding {
  const { sidecars, current, refused, held, problem = '', heldBy } = count;
  if (sidecars === 0)
    return { status: 'Unknown', reason: 'NoSidecars', message: 'it concerns no sidecar that runs' };
  const have = `${current} of ${sidecars} sidecars have generation ${generation}`;
  if (current === sidecars) return { status: 'True', reason: 'Programmed', message: have };
  const parts = [
    have,
    ...(refused > 0 ? [`${refused} refused it${problem === '' ? '' : ` (${problem})`}`] : []),
    ...(held > 0 ? [`${held} keep what they had because of ${listed(heldBy)}`] : []),
  ];
  const reason = refused > 0 ? 'Refused' : held > 0 ? 'HeldBack' : 'Pending';
  return { status: 'False', reason, message: parts.join('; ') };
}

function listed(names: readonly string[]): string {
  const more = names.length - maxNames;
  return names.slice(0, maxNames).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Makes the conditions of a resource of what was found, and of those that it had. */
export function buildConditions(
  { generation }: Pick<KeptResource, 'generation'>,
  { accepted, resolvedRefs }: Findings,
  count: Count,
  { before, nowMs }: { readonly before: readonly Condition[]; readonly nowMs: number },
): readonly Condition[] {
  const findings = { Accepted: accepted, ResolvedRefs: resolvedRefs, Programmed: judgeProgrammed(count, generation) }; // prettier-ignore
  return conditionTypes.map((type) => {
    const { status, reason, message } = findings[type];
    const last = before.find((condition) => condition.type === type);
    const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
    return {
      type,
      status,
      observedGeneration: generation,
      lastTransitionTime: last?.status === status ? last.lastTransitionTime : now,
      reason,
      message: message.slice(0, maxMessage),
    };
  });
}

/** Reads the conditions of an object that are ours, in our order. */
export function readConditions(object: Readonly<Record<string, unknown>>): readonly Condition[] {
  const { conditions } = isObject(object['status']) ? object['status'] : {};
  const read = (Array.isArray(conditions) ? conditions : []).flatMap(
    (each: unknown): Condition[] => {
      const given = isObject(each) ? each : {};
      const { reason, message, observedGeneration, lastTransitionTime } = given;
      const type = conditionTypes.find((known) => known === given['type']);
      const status = (['True', 'False', 'Unknown'] as const).find((known) => known === given['status']); // prettier-ignore
      if (!type || !status || typeof reason !== 'string' || typeof message !== 'string') return [];
      if (typeof observedGeneration !== 'number' || typeof lastTransitionTime !== 'string')
        return [];
      return [{ type, status, observedGeneration, lastTransitionTime, reason, message }];
    },
  );
  return conditionTypes.flatMap((type) => read.find((condition) => condition.type === type) ?? []);
}

import { isDeepStrictEqual } from 'node:util';
import { isObject } from '#core/policy/fields.ts';

/**
 * Whether a container or a volume is one of ours, with nothing changed but what the API server and its own admission
 * plugins do to any: AlwaysPullImages, a LimitRange's defaults for resources that we set none of, the spelling of an
 * amount. What another webhook added, a variable for example, is a change.
 */
export function isSamePart(found: object, ours: object): boolean {
  return isDeepStrictEqual(settle(found, ours), settle(ours, ours));
}

function settle(part: object, ours: object): Record<string, unknown> {
  const settled: Record<string, unknown> = { ...part };
  const reference: Record<string, unknown> = { ...ours };
  if (settled['imagePullPolicy'] === 'Always')
    settled['imagePullPolicy'] = reference['imagePullPolicy'];
  if (isDefaultResizePolicy(settled['resizePolicy'])) delete settled['resizePolicy'];
  if (isObject(settled['resources']) && isObject(reference['resources']))
    settled['resources'] = settleResources(settled['resources'], reference['resources']);
  if (isObject(settled['emptyDir'])) settled['emptyDir'] = settleAmounts(settled['emptyDir']);
  return settled;
}

function settleResources(
  found: Readonly<Record<string, unknown>>,
  ours: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const settled: Record<string, unknown> = { ...found };
  for (const field of ['requests', 'limits']) {
    const [those, set] = [found[field], ours[field]];
    if (!isObject(those) || !isObject(set)) continue;
    const kept = Object.entries(those).filter(([resource]) => Object.hasOwn(set, resource));
    settled[field] = settleAmounts(Object.fromEntries(kept));
  }
  return settled;
}

/** A change of the resources of a running container then restarts nothing, which is what it is without the field. */
function isDefaultResizePolicy(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((entry: unknown) => isObject(entry) && entry['restartPolicy'] === 'NotRequired')
  );
}

function settleAmounts(amounts: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => [name, tryParseQuantity(amount) ?? amount]),
  );
}

const factors = new Map([
  ['n', 1e-9], ['u', 1e-6], ['m', 1e-3], ['', 1], ['k', 1e3], ['M', 1e6], ['G', 1e9], ['T', 1e12], ['P', 1e15],
  ['E', 1e18], ['Ki', 2 ** 10], ['Mi', 2 ** 20], ['Gi', 2 ** 30], ['Ti', 2 ** 40], ['Pi', 2 ** 50], ['Ei', 2 ** 60],
]); // prettier-ignore

/** Reads an amount of Kubernetes, such as `100m`, `0.1`, `1Gi` or `1e3`. */
export function tryParseQuantity(value: unknown): number | undefined {
  const match = /^(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})(?:[eE]([+-]?\d{1,2})|([a-zA-Z]{0,2}))$/.exec(
    typeof value === 'number' ? String(value) : typeof value === 'string' ? value : '',
  );
  const factor = match?.[2] === undefined ? factors.get(match?.[3] ?? '') : 10 ** Number(match[2]);
  if (match?.[1] === undefined || factor === undefined) return undefined;
  // To nine places, since 0.1 and 100 thousandths are one amount and not one double.
  return Number((Number(match[1]) * factor).toFixed(9));
}

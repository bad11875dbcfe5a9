import { isObject } from '#core/policy/fields.ts';
import type { Standing, Standings } from './standing.ts';

/** What a replica tells the leader, as it stands in the ConfigMap: many sidecars have the same, so each is said once. */
interface Report {
  /** Another number each time: what stays the same is of a replica that is gone. */
  readonly beat: number;
  readonly parts: readonly string[];
  /** Indexes into `parts`. */
  readonly sets: readonly (readonly number[])[];
  readonly texts: readonly string[];
  readonly pods: Readonly<Record<string, Entry>>;
}

/** When; indexes of sets in force and refused, and of the problem's text, -1 for none; texts of what holds it back. */
type Entry = readonly [
  atMs: number,
  inForce: number,
  refused: number,
  problem: number,
  ...heldBy: readonly number[],
];

/** Of all replicas together the API takes a megabyte. */
export const maxReportLength = 400_000;

/** Writes what a replica knows. Sidecars for which there is no room are left out, and count as silent ones. */
export function formatReport(standings: Standings, beat: number, most = maxReportLength): string {
  let left = [...standings];
  for (;;) {
    const text = JSON.stringify(buildReport(left, beat));
    if (text.length <= most || left.length === 0) return text;
    left = left.slice(0, Math.floor(left.length / 2));
  }
}

function buildReport(standings: readonly (readonly [string, Standing])[], beat: number): Report {
  const parts = new Indexes();
  const texts = new Indexes();
  const sets = new Indexes();
  const setOf = (names: readonly string[] | undefined): number =>
    names ? sets.of(names.map((name) => parts.of(name)).join()) : -1;
  const pods = standings.map(([key, { atMs, inForce, refused, heldBy }]): [string, Entry] => [
    key,
    [
      atMs,
      setOf(inForce),
      setOf(refused?.parts),
      refused ? texts.of(refused.problem) : -1,
      ...heldBy.map((name) => texts.of(name)),
    ],
  ]);
  return {
    beat,
    parts: parts.texts,
    sets: sets.texts.map((text) => (text === '' ? [] : text.split(',').map(Number))),
    texts: texts.texts,
    pods: Object.fromEntries(pods),
  };
}

/** Numbers texts in the order in which they come. */
class Indexes {
  readonly #indexes = new Map<string, number>();

  get texts(): readonly string[] {
    return [...this.#indexes.keys()];
  }

  of(text: string): number {
    const index = this.#indexes.get(text) ?? this.#indexes.size;
    this.#indexes.set(text, index);
    return index;
  }
}

/** Reads what a replica has written, maybe of another release; undefined for what cannot be read as that. */
export function tryParseReport(text: string): Standings | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // it counts as a replica that says nothing
  }
  const { parts, sets, texts, pods } = isObject(value) ? value : {};
  if (!isList(parts, isText) || !isList(texts, isText) || !isObject(pods)) return undefined;
  if (!isList(sets, (set) => isList(set, isNumber))) return undefined;
  const partsOf = sets.map((set) => set.flatMap((index) => parts[index] ?? []));
  const standings = new Map<string, Standing>();
  for (const [key, entry] of Object.entries(pods)) {
    if (!isList(entry, isNumber)) return undefined;
    const [atMs = 0, inForce = -1, refused = -1, problem = -1, ...heldBy] = entry;
    const refusedParts = partsOf[refused];
    standings.set(key, {
      atMs,
      inForce: partsOf[inForce],
      refused: refusedParts && { parts: refusedParts, problem: texts[problem] ?? '' },
      heldBy: heldBy.flatMap((index) => texts[index] ?? []),
    });
  }
  return standings;
}

function isList<T>(value: unknown, isItem: (item: unknown) => item is T): value is readonly T[] {
  return Array.isArray(value) && value.every(isItem);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number';
}

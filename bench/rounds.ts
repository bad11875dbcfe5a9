/** What a measure came to on one route: a median of its rounds, and how far they lay apart. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Line {
  readonly measure: string;
  readonly unit: string;
  readonly direct: number | null;
  readonly relay: number | null;
  readonly chaperone: number;
  /** Of what the goal is about: Chaperone by relay or direct; or the difference, for a goal that is one. */
  readonly ratio: number | null;
  readonly goal: string | null;
  readonly ok: boolean | null;
  /** Least and most of each route's rounds. */
  readonly spread: Readonly<Record<string, readonly [number, number]>>;
}

/** What a measure is held to. */
export type Goal =
  | {
      readonly kind: 'at-least' | 'at-most';
      readonly of: 'direct' | 'relay';
      readonly ratio: number;
    }
  | { readonly kind: 'more-than-direct'; readonly by: number }
  | { readonly kind: 'limit'; readonly most: number }
  | { readonly kind: 'least'; readonly least: number };

export type RouteName = 'direct' | 'relay' | 'chaperone';

/** Runs the routes in turn, round after round, so that what changes on the machine meets all of them. */
export async function interleave<Name extends string>(
  rounds: number,
  runs: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, Figure>> {
  const names = Object.keys(runs) as Name[]; // the keys of a record that was just given
  const values = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) values.get(name)?.push(await runs[name]());
  }
  return Object.fromEntries(
    names.map((name) => [name, figureOf(values.get(name) ?? [])]),
  ) as Record<Name, Figure>;
}

export function figureOf(values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const [min = Number.NaN] = sorted;
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  return {
    median: (at((sorted.length - 1) >> 1) + at(sorted.length >> 1)) / 2,
    min,
    max: sorted.at(-1) ?? Number.NaN,
  };
}

export interface Measured {
  readonly measure: string;
  readonly unit: string;
  readonly figures: Readonly<Partial<Record<RouteName, Figure>>>;
  readonly goal?: Goal;
}

/** Holds a measure against its goal. */
export function judge({ measure, unit, figures, goal }: Measured): Line {
  const { direct, relay, chaperone } = figures;
  const own = chaperone?.median ?? Number.NaN;
  const compared = goal && compare(own, figures, goal);
  return {
    measure,
    unit,
    direct: rounded(direct?.median),
    relay: rounded(relay?.median),
    chaperone: rounded(own) ?? Number.NaN,
    ratio: rounded(compared?.value),
    goal: goal ? describe(goal, unit) : null,
    ok: compared?.ok ?? null,
    spread: Object.fromEntries(
      Object.entries(figures).map(([name, { min, max }]) => [
        name,
        [rounded(min) ?? 0, rounded(max) ?? 0] as const,
      ]),
    ),
  };
}

function compare(
  own: number,
  figures: Measured['figures'],
  goal: Goal,
): { readonly value: number; readonly ok: boolean } {
  switch (goal.kind) {
    case 'at-least': {
      const value = own / (figures[goal.of]?.median ?? Number.NaN);
      return { value, ok: value >= goal.ratio };
    }
    case 'at-most': {
      const value = own / (figures[goal.of]?.median ?? Number.NaN);
      return { value, ok: value <= goal.ratio };
    }
    case 'more-than-direct': {
      const value = own - (figures.direct?.median ?? Number.NaN);
      return { value, ok: value <= goal.by };
    }
    case 'limit':
      return { value: own, ok: own <= goal.most };
    case 'least':
      return { value: own, ok: own >= goal.least };
  }
}

function describe(goal: Goal, unit: string): string {
  switch (goal.kind) {
    case 'at-least':
      return `>= ${goal.ratio} of ${goal.of}`;
    case 'at-most':
      return `<= ${goal.ratio} of ${goal.of}`;
    case 'more-than-direct':
      return `<= direct + ${goal.by} ${unit}`;
    case 'limit':
      return `<= ${goal.most} ${unit}`;
    case 'least':
      return `>= ${goal.least} ${unit}`;
  }
}

function rounded(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : Number(value.toPrecision(4));
}

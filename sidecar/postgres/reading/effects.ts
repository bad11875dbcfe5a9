import type { NameUse } from '#core/postgres/sql/survey.ts';

/** What running a text may do to the reading of those behind it. */
export interface Effects {
  /** It may change settings that say what texts mean. */
  readonly meaning: boolean;
  /** It may end a transaction, or go back in it: what was set there is taken back. */
  readonly ends: boolean;
  /** It may define, change or drop what names stand for. */
  readonly catalogue: boolean;
  /** It runs or defines what nobody has read: names may be there from then on that were not. */
  readonly opaque: boolean;
  /** Names that may stand for something from then on that had another before, `*` for any. */
  readonly moves: readonly string[];
  /** Names that it takes away, by which another schema's may show; the name `*` is any. */
  readonly drops: readonly NameUse[];
  /** Relations that it makes, and parents of these. */
  readonly makes: readonly NameUse[];
  readonly adopts: readonly string[];
}

export const noEffects: Effects = {
  meaning: false,
  ends: false,
  catalogue: false,
  opaque: false,
  moves: [],
  drops: [],
  makes: [],
  adopts: [],
};

/** Of what nobody has read. */
export const anyEffects: Effects = {
  ...noEffects,
  meaning: true,
  ends: true,
  catalogue: true,
  opaque: true,
};

export function joinEffects(one: Effects, other: Effects): Effects {
  return {
    meaning: one.meaning || other.meaning,
    ends: one.ends || other.ends,
    catalogue: one.catalogue || other.catalogue,
    opaque: one.opaque || other.opaque,
    moves: [...one.moves, ...other.moves],
    drops: [...one.drops, ...other.drops],
    makes: [...one.makes, ...other.makes],
    adopts: [...one.adopts, ...other.adopts],
  };
}

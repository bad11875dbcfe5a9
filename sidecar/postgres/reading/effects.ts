/** What running a text may do to the reading of those behind it. */
export interface Effects {
  /** It may change settings that say what texts mean. */
  readonly meaning: boolean;
  /** It may end a transaction, or go back in it: what was set there is taken back. */
  readonly ends: boolean;
  /** It may define, change or drop what names stand for. */
  readonly catalogue: boolean;
  /** A name may stand for something from then on that had another before. */
  readonly moves: boolean;
  /** Names that it takes away, by which another schema's may show, `*` for any; and those that it gives. */
  readonly drops: readonly string[];
  readonly creates: readonly string[];
}

export const noEffects: Effects = {
  meaning: false,
  ends: false,
  catalogue: false,
  moves: false,
  drops: [],
  creates: [],
};

/** Of what nobody has read. */
export const anyEffects: Effects = {
  ...noEffects,
  meaning: true,
  ends: true,
  catalogue: true,
  moves: true,
};

export function joinEffects(one: Effects, other: Effects): Effects {
  return {
    meaning: one.meaning || other.meaning,
    ends: one.ends || other.ends,
    catalogue: one.catalogue || other.catalogue,
    moves: one.moves || other.moves,
    drops: [...one.drops, ...other.drops],
    creates: [...one.creates, ...other.creates],
  };
}

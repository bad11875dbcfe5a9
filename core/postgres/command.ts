const maxLookedAtBytes = 65_536; // whoever begins with more than this in comments is described each time

/** Spaces and comments before the first word of a statement; comments nest. */
function skipBlank(text: string): number {
  let at = 0;
  for (;;) {
    while (/^\s$/.test(text.charAt(at))) at += 1;
    if (text.startsWith('--', at)) {
      const end = /[\n\r]/.exec(text.slice(at));
      at = end ? at + end.index : text.length;
    } else if (text.startsWith('/*', at)) at = endOfComment(text, at);
    else return at;
  }
}

function endOfComment(text: string, from: number): number {
  let depth = 0;
  const marks = /\/\*|\*\//g;
  marks.lastIndex = from;
  for (let mark = marks.exec(text); mark; mark = marks.exec(text)) {
    depth += mark[0] === '/*' ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return text.length;
}

const planned =
  /^(?:select|insert|update|delete|merge|with|values|table)(?![a-z0-9_$\u0080-\uffff])/i;

/**
 * Returns whether a prepared statement's rows have the same columns at every execution. PostgreSQL holds to that where it
 * plans ("cached plan must not change result type"); FETCH, EXECUTE and the like return what another name stands for by
 * then. In doubt it is false.
 */
export function hasFixedColumns(query: Buffer): boolean {
  const text = query.toString('latin1', 0, maxLookedAtBytes);
  const start = skipBlank(text);
  return text.charAt(start) === '(' || planned.test(text.slice(start, start + 16));
}

/** Whose names a statement may give another meaning: those of prepared statements, of portals, or of both. */
export type Renames = 'nothing' | 'statements' | 'portals' | 'all';

const renaming: ReadonlyMap<string, Renames> = new Map([
  ['deallocate', 'statements'],
  ['prepare', 'statements'],
  ['close', 'portals'],
  ['declare', 'portals'],
  ['discard', 'all'],
  ['execute', 'all'], // of a statement that a Parse made, which may be any of these
  ['do', 'all'],
  ['call', 'all'],
]);
const maxWordLength = 10;
const firstWord = /^[a-z0-9_$\u0080-\u00ff]*/i;

/** So much of each statement is looked at for its first word, and so many statements of one text. */
const lookedAtBytes = 2_000;
const maxLookedAt = 1_000;
const semicolon = 0x3b;

/**
 * Returns what a text may rename when it is run. A statement begins behind each semicolon, which may also be one within
 * a string: in doubt it is taken for one. What functions do that a SELECT calls is not known.
 */
export function renamesOf(text: Buffer): Renames {
  let renames: Renames = 'nothing';
  let from = 0;
  for (let looked = 0; looked < maxLookedAt; looked += 1) {
    const beginning = text.toString('latin1', from, from + lookedAtBytes);
    const start = skipBlank(beginning);
    const cut = from + lookedAtBytes < text.length && start + maxWordLength >= beginning.length;
    if (cut) return 'all';
    renames = joined(renames, renamesOfTag(beginning.slice(start, start + maxWordLength + 1)));
    from = text.indexOf(semicolon, from) + 1;
    if (from === 0) return renames;
  }
  return 'all';
}

/** Returns what has been renamed, by the tag of a CommandComplete. */
export function renamesOfTag(tag: string): Renames {
  const [word = ''] = firstWord.exec(tag) ?? [];
  return renaming.get(word.toLowerCase()) ?? 'nothing';
}

function joined(one: Renames, other: Renames): Renames {
  if (one === 'nothing' || one === other) return other;
  return other === 'nothing' ? one : 'all';
}

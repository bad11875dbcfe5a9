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

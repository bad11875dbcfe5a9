/** A text that is hard on a parser. `payload` is a query of one column; `round` makes each text another. */
export interface HostileText {
  readonly what: string;
  readonly text: (payload: string, round: number) => string;
}

const many = (count: number, piece: string | ((index: number) => string), by = ''): string =>
  Array.from({ length: count }, (_, index) =>
    typeof piece === 'string' ? piece : piece(index),
  ).join(by);
const nested = (depth: number, open: string, inner: string, close: string): string =>
  open.repeat(depth) + inner + close.repeat(depth);

/** Texts that PostgreSQL may run or refuse; with a payload that may not be read, none of them may show it. */
export const hostileTexts: readonly HostileText[] = [
  {
    what: 'a sum of 10 000 terms',
    text: (q, n) => `SELECT ${many(10_000, '1', '+')}+${n}, (${q})`,
  },
  {
    what: '10 000 conditions',
    text: (q, n) => `SELECT (${q}) WHERE ${many(10_000, (i) => `${i} <> ${-1 - n}`, ' AND ')}`,
  },
  {
    what: '10 000 alternatives',
    text: (q, n) => `SELECT (${q}) WHERE ${many(10_000, (i) => `${i} = ${n}`, ' OR ')}`,
  },
  {
    what: '10 000 strings that are joined',
    text: (q, n) => `SELECT ${many(10_000, `'a'`, '||')}||'${n}', (${q})`,
  },
  { what: '100 000 signs', text: (q, n) => `SELECT ${'- '.repeat(100_000)}${n}, (${q})` },
  { what: '50 000 times NOT', text: (q, n) => `SELECT ${'NOT '.repeat(50_000)}true, ${n}, (${q})` },
  { what: '10 000 casts', text: (q, n) => `SELECT ${n}${'::int'.repeat(10_000)}, (${q})` },
  {
    what: '5 000 parentheses',
    text: (q, n) => `SELECT ${nested(5_000, '(', String(n), ')')}, (${q})`,
  },
  {
    what: '100 000 parentheses',
    text: (q, n) => `SELECT ${nested(100_000, '(', String(n), ')')}, (${q})`,
  },
  {
    what: '100 000 parentheses that stay open',
    text: (q, n) => `SELECT ${'('.repeat(100_000)}${n}, (${q})`,
  },
  {
    what: '2 000 nested queries',
    text: (q, n) => `SELECT ${nested(2_000, '(SELECT ', `(${q})`, ')')}, ${n}`,
  },
  {
    what: '3 000 nested tables',
    text: (q, n) =>
      `SELECT * FROM ${nested(3_000, '(SELECT * FROM ', `(${q}) x`, ') x')} WHERE ${n} > -1`,
  },
  {
    what: '3 000 nested calls',
    text: (q, n) => `SELECT ${nested(3_000, 'abs(', String(n), ')')}, (${q})`,
  },
  {
    what: '3 000 nested CASE',
    text: (q, n) => `SELECT ${nested(3_000, 'CASE WHEN true THEN ', String(n), ' END')}, (${q})`,
  },
  {
    what: '3 000 nested arrays',
    text: (q, n) => `SELECT ${nested(3_000, 'ARRAY[', String(n), ']')}, (${q})`,
  },
  {
    what: '2 000 nested WITH',
    text: (q, n) => `${nested(2_000, 'WITH w AS (', q, ') SELECT * FROM w')} WHERE ${n} > -1`,
  },
  {
    what: '2 000 members of a UNION',
    text: (q, n) =>
      `${many(2_000, 'SELECT NULL', ' UNION ALL ')} UNION ALL (${q}) LIMIT 1000000 + ${n}`,
  },
  {
    what: '100 joins',
    text: (q, n) =>
      `SELECT x.* FROM (${q}) x ${many(100, (i) => `CROSS JOIN (SELECT ${i}) j${i}`, ' ')} WHERE ${n} > -1`,
  },
  {
    what: 'a list of 40 000 numbers',
    text: (q, n) => `SELECT (${q}) WHERE ${n} NOT IN (${many(40_000, (i) => String(-1 - i), ',')})`,
  },
  {
    what: '20 000 rows of VALUES',
    text: (q, n) =>
      `SELECT (${q}) FROM (VALUES ${many(20_000, (i) => `(${i})`, ',')}) v (a) WHERE a = ${n}`,
  },
  {
    what: '10 000 columns',
    text: (q, n) => `SELECT ${many(10_000, (i) => `${i} AS c${i}`, ',')}, ${n}, (${q})`,
  },
  {
    what: '30 000 dotted names',
    text: (q, n) => `SELECT ${many(30_000, 'a.b.c', ',')}, ${n}, (${q})`,
  },
  {
    what: '10 000 statements',
    text: (q, n) => `${'SELECT 1;'.repeat(10_000)} SELECT ${n}, (${q})`,
  },
  { what: '100 000 semicolons', text: (q, n) => `${';'.repeat(100_000)} SELECT ${n}, (${q})` },
  {
    what: 'a comment of 100 000 levels',
    text: (q, n) => `SELECT ${n}, ${nested(50_000, '/*', '', '*/')} (${q})`,
  },
  {
    what: 'a comment that stays open',
    text: (q, n) => `SELECT ${n}, (${q}) ${'/*'.repeat(100_000)}`,
  },
  { what: 'a string of 200 KB', text: (q, n) => `SELECT '${'x'.repeat(200_000)}${n}', (${q})` },
  { what: 'a string of 1 MB', text: (q, n) => `SELECT '${'x'.repeat(1_000_000)}${n}', (${q})` },
  {
    what: '1 MB of rows',
    text: (q, n) =>
      `SELECT (${q}) FROM (VALUES ${many(60_000, (i) => `(${i}, 'row')`, ',')}) v (a, b) WHERE a = ${n}`,
  },
  {
    what: 'a dollar quote of 1 MB',
    text: (q, n) => `SELECT $q${n}$${"'$$".repeat(300_000)}$q${n}$, (${q})`,
  },
  {
    what: '10 000 dollar quotes',
    text: (q, n) => `SELECT ${many(10_000, (i) => `$a${i}$'$a${i}$`, ',')}, ${n}, (${q})`,
  },
  {
    what: '10 000 parts of a string',
    text: (q, n) => `SELECT '${n}'\n${many(10_000, `'a'`, '\n')}, (${q})`,
  },
  {
    what: '10 000 escapes',
    text: (q, n) => `SELECT E'${'\\u00e9\\x41\\n'.repeat(10_000)}${n}', (${q})`,
  },
  { what: 'escapes that name half a character', text: (q, n) => `SELECT E'\\ud83d', ${n}, (${q})` },
  { what: 'escaped bytes that are no UTF-8', text: (q, n) => `SELECT E'\\xff\\xfe', ${n}, (${q})` },
  {
    what: 'names of 60 000 letters',
    text: (q, n) => `SELECT ${n} AS "${'é'.repeat(60_000)}", (${q})`,
  },
  { what: 'names in Unicode', text: (q, n) => `SELECT ${n} AS "\u{1f600}\u202e", (${q})` },
  {
    what: 'a number of 100 000 digits',
    text: (q, n) => `SELECT ${'9'.repeat(100_000)}, ${n}, (${q})`,
  },
  {
    what: 'a parameter of a great number',
    text: (q, n) => `SELECT $99999999999999999999, ${n}, (${q})`,
  },
  {
    what: 'operators of all signs',
    text: (q, n) => `SELECT ${n} ${'+-*/<>=~!@#%^&|`?'.repeat(1_000)} 1, (${q})`,
  },
  {
    what: 'white space of 200 KB',
    text: (q, n) => `SELECT${' \t\r\n\f'.repeat(40_000)}${n}, (${q})`,
  },
];

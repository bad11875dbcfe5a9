import type { TranscriptLine } from '#core/record/transcript.ts';
import { printable } from './terminal.ts';

/** A request as a row of a table: who asked what, whether it was let through, and how it ended. */
export interface StatementRow {
  /** RFC 3339. */
  readonly time: string;
  readonly principal: string;
  readonly session: string;
  readonly verdict: string;
  /** Empty where no policy selects the pod. */
  readonly policy: string;
  readonly rule: string;
  /** Undefined where it was not recorded, or was erased. */
  readonly text: string | undefined;
  readonly parameters: readonly (string | null)[];
  rows: number;
  /** `denied` for what did not run, empty for what has no end yet. */
  status: string;
  durationUs: number | undefined;
}

/** Requests that were made and have no result yet; past it the oldest is told without one. */
const maxOpen = 20_000;

/** Turns the lines of one session into rows, each once its request has ended; what has no end comes last. */
export async function* statementRows(
  lines: AsyncIterable<TranscriptLine>,
): AsyncGenerator<StatementRow> {
  const open = new Map<number, StatementRow & { parameters: (string | null)[] }>();
  let session = '';
  let principal = '';
  for await (const line of lines) {
    switch (line.kind) {
      case 'session':
        ({ session } = line);
        principal = line.principal.user;
        break;
      case 'request': {
        const { action, policy = '', rule = '' } = line.verdict;
        const row = {
          time: line.time,
          principal,
          session,
          verdict: action,
          policy,
          rule,
          text: line.text,
          parameters: [],
          rows: 0,
          status: action === 'Deny' ? 'denied' : '',
          durationUs: undefined,
        };
        open.set(line.seq, row);
        break;
      }
      case 'parameters':
        open.get(line.seq)?.parameters.push(...line.values);
        break;
      case 'outcome': {
        const row = open.get(line.seq);
        if (!row) break; // of a statement that was not prepared
        open.delete(line.seq);
        yield Object.assign(row, {
          rows: line.rows,
          status: line.status,
          durationUs: line.durationUs,
        });
        break;
      }
      default:
        break; // what was answered is not in the table
    }
    yield* endedIn(open);
  }
  yield* open.values();
}

/** Denied requests have no result, and are told with the line that follows them. */
function* endedIn(open: Map<number, StatementRow>): Generator<StatementRow> {
  const last = [...open.keys()].at(-1);
  for (const [seq, row] of open) {
    if ((row.status !== 'denied' || seq === last) && open.size <= maxOpen) continue;
    open.delete(seq);
    yield row;
  }
}

const columns = [
  'time',
  'principal',
  'session',
  'verdict',
  'policy',
  'rule',
  'text',
  'parameters',
  'rows',
  'status',
  'duration_ms',
] as const;

/** The first line of a table in CSV (RFC 4180). */
export const csvHeader = `${columns.join(',')}\r\n`;

/** Returns a row in CSV, without anything that a spreadsheet would run or a terminal would obey. */
export function csvRow(row: StatementRow): string {
  const cells = [
    row.time,
    row.principal,
    row.session,
    row.verdict,
    row.policy,
    row.rule,
    row.text ?? '',
    row.parameters.length === 0 ? '' : JSON.stringify(row.parameters),
    String(row.rows),
    row.status,
    row.durationUs === undefined ? '' : String(row.durationUs / 1_000),
  ];
  return `${cells.map(csvCell).join(',')}\r\n`;
}

/** A spreadsheet takes what begins so for a formula, which may fetch or run something; an apostrophe makes it text. */
const formula = /^\s*[=+\-@|%\\]/;

function csvCell(text: string): string {
  const shown = printable(text);
  const safe = formula.test(shown) ? `'${shown}` : shown;
  return /^[\w:.-]*$/.test(safe) ? safe : `"${safe.replaceAll('"', '""')}"`;
}

/** Returns a value as one line of JSON in which nothing steers a terminal; it reads back as it was. */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    let escaped = '';
    for (let unit = 0; unit < character.length; unit += 1)
      escaped += `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`;
    return escaped;
  });
  return `${text}\n`;
}

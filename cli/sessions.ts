import type { SessionSummary } from '#core/session-summary.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { exportSession } from './export.ts';
import { findInstance } from './instance.ts';
import { killSession } from './kill.ts';
import { printExpectations, printSession } from './show.ts';
import { tailSessions } from './tail.ts';
import { table } from './terminal.ts';
import { parseTime } from './time-words.ts';

/** Which sessions are listed, and how. */
export const listOptions = {
  who: { type: 'string' },
  backend: { type: 'string' },
  since: { type: 'string' },
  text: { type: 'string' },
  limit: { type: 'string', default: '100' },
  json: { type: 'boolean', default: false },
} as const;

/** The same for people. */
export const listUsage = `  --who USER      of this principal, such as analyst@example.com
  --backend NAME  to this backend
  --since WHEN    begun since: 15m, 2h, 7d, or a time such as 2026-01-31T12:00:00Z
  --text PART     with a statement that holds this text, in any case
  --limit N       the newest N (default 100); whether there are more is said on standard error
  --json          as JSON`;

const usage = `usage: chaperone sessions [--who USER] [--backend NAME] [--since WHEN] [--text PART] [--limit N] [--json]
                          [--data DIR]
       chaperone sessions show ID [--json | --as-expectation] [--data DIR]
       chaperone sessions kill ID [--data DIR]
       chaperone sessions tail -f [ID] [--data DIR]
       chaperone sessions export ID [--stream] [--as FORMAT] [--output FILE] [--data DIR]

Lists recorded sessions, newest first, shows what happened in one, or ends one that is open; tells statements as they come,
of one session or of all; or exports one, for "chaperone verify" or a table.

${listUsage}
  --as-expectation
                  its requests with what they got, for "chaperone replay --expect"
  --stream        ID is that of a stream, with all of its sessions
  --as FORMAT     frames (default): records with what proves them; csv, ndjson: statements
  --output FILE   into a file that is not there yet, rather than to standard output
  --data DIR      of the instance whose data is there`;

/** `chaperone sessions` with its verbs. */
export const sessions: Command = {
  name: 'sessions',
  summary: 'lists recorded sessions; shows, ends, follows or exports them',
  usage,
  async run(args) {
    const [first, ...rest] = args;
    if (first === 'tail') return tailSessions(rest);
    if (first === 'export') return exportSession(rest);
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        ...listOptions,
        'as-expectation': { type: 'boolean', default: false },
        data: { type: 'string' },
      },
    });
    const [verb, id, ...more] = positionals;
    if (more.length > 0 || (verb !== undefined && verb !== 'show' && verb !== 'kill'))
      throw new UsageError(usage);
    const { 'as-expectation': asExpectation } = values;
    if (asExpectation && verb !== 'show')
      throw new UsageError('--as-expectation is for sessions show');
    const client = (): CollectorClient =>
      new CollectorClient(localCollector(findInstance(values.data)));
    if (verb !== undefined) {
      if (id === undefined) throw new UsageError(`sessions ${verb} needs the id of a session`);
      if (verb === 'kill') return killSession(findInstance(values.data), id);
      if (asExpectation) return printExpectations(client(), id);
      return printSession(client(), id, values.json);
    }
    return listSessions(client, values);
  },
};

interface ListValues {
  readonly who?: string | undefined;
  readonly backend?: string | undefined;
  readonly since?: string | undefined;
  readonly text?: string | undefined;
  readonly limit: string;
  readonly json: boolean;
}

/** Prints the sessions that are asked for, of a collector that is found once it is clear which. Returns the exit code. */
export async function listSessions(
  client: () => CollectorClient | Promise<CollectorClient>,
  { who, backend, since, text, limit: most, json }: ListValues,
): Promise<number> {
  const limit = parseLimit(most);
  const begun = since === undefined ? undefined : parseTime(since, Date.now());
  const query = { who, backend, text, since: begun };
  const { sessions: found, hasMore } = await (await client()).newestSessions(query, limit);
  print(found, json);
  if (hasMore) process.stderr.write(`more: ${howToSeeMore(limit)}\n`);
  return 0;
}

const maxLimit = 999_999;

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new UsageError(`--limit: got "${text}", want 1 to ${maxLimit}`);
}

function howToSeeMore(limit: number): string {
  const shown = limit === 1 ? 'this is the newest' : `these are the newest ${limit}`;
  return limit === maxLimit
    ? `${shown}; --who, --backend, --since and --text show fewer`
    : `${shown}; --limit ${Math.min(limit * 10, maxLimit)} shows older ones`;
}

function print(found: readonly SessionSummary[], json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  if (found.length === 0) return void process.stdout.write('no sessions\n');
  const names = [
    'session',
    'started',
    'who',
    'backend',
    'database',
    'requests',
    'denied',
    'errors',
    'rows',
    'ended',
  ];
  const rows = found.map((session) => [
    session.id,
    session.startedAt.slice(0, 19).replace('T', ' '),
    session.user,
    session.backend,
    session.database,
    String(session.requests),
    String(session.denied),
    String(session.errors),
    String(session.rows),
    session.endReason ?? 'open',
  ]);
  for (const line of table(
    names,
    rows.map((row) => row.map((cell) => cell ?? '')),
  )) {
    process.stdout.write(`${line}\n`);
  }
  return undefined;
}

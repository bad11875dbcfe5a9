import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { buildQuery } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import type { BackendServer } from './backend-server.ts';
import type { BypassCase, Step } from './bypass-cases.ts';
import { hostileDatabase } from './bypass-texts.ts';
import { RawClient, type RawLogin } from './raw-client.ts';

/** What came of a case. */
export interface Outcome {
  readonly answers: readonly string[];
  /** What was changed that no agent may change; empty for nothing. */
  readonly harm: readonly string[];
}

const template = 'hostile';
const untouched = { 'public.victim': 1, 'public.salaries': 1, 'hr.salaries': 1 };
/** By the port that cases are played at: a database that the last of them has left as it was. */
const spare = new Map<number, string>();
let count = 0;

/** Makes the database that those of the cases are copies of. */
export async function prepareTemplate(server: BackendServer): Promise<void> {
  await as(server, 'postgres', (client) => client.query(`CREATE DATABASE ${template}`));
  await as(server, template, (client) => client.query(hostileDatabase));
}

/** Plays a case in a fresh database, by whatever way `login` leads to `server`. */
export async function playCase(
  server: BackendServer,
  login: Omit<RawLogin, 'database'>,
  { steps, startup }: Pick<BypassCase, 'steps' | 'startup'>,
): Promise<Outcome> {
  const database = spare.get(login.port) ?? (await createDatabase(server));
  spare.delete(login.port);
  const file = join(tmpdir(), `chaperone-${process.pid}-${database}`);
  const before = await stateOf(server, database);
  const words = new Map([
    ['$DB', database],
    ['$FILE', file],
    ['$ROLE', `role_of_${database}`],
    ['FUNCTION CALL zap', before.zap],
  ]);
  const connect = (): Promise<RawClient> =>
    RawClient.connect({ ...login, database, ...(startup ? { parameters: startup } : {}) });
  const listener = await listen(server, database);
  const answers: string[] = [];
  let client = await connect();
  for (const step of steps) {
    if (step === 'RECONNECT') {
      answers.push(...(await hangUp(client)));
      client = await connect();
      continue;
    }
    const frames = framesOf(step, words);
    client.send(...frames);
    for (let left = frames.filter(isAnswered).length; left > 0 && !client.closed; left -= 1)
      answers.push(...(await client.read((answer) => answer.startsWith('Z'))));
  }
  answers.push(...(await hangUp(client)));
  const after = await stateOf(server, database);
  const notified = await listener.heard();
  const harm = [
    ...after.harm,
    ...notified.map((payload) => `told: ${payload}`),
    ...(existsSync(file) ? ['a file was written'] : []),
  ];
  rmSync(file, { force: true });
  if (after.state === before.state) spare.set(login.port, database);
  else await as(server, 'postgres', (owner) => owner.query(`DROP DATABASE ${database} (FORCE)`));
  return { answers, harm };
}

async function createDatabase(server: BackendServer): Promise<string> {
  count += 1;
  const database = `case_${count}`;
  await as(server, 'postgres', (client) =>
    client.query(`CREATE DATABASE ${database} TEMPLATE ${template} STRATEGY file_copy`),
  );
  return database;
}

function framesOf(step: Step, words: ReadonlyMap<string, string>): readonly Buffer[] {
  const parts: readonly (string | Buffer)[] =
    typeof step === 'string' || Buffer.isBuffer(step) ? [step] : step;
  return parts.map((part) => {
    if (typeof part !== 'string') return part;
    if (part.startsWith('FUNCTION CALL'))
      return buildMessage('F', int32(Number(words.get(part))), int16(0), int16(0), int16(0));
    return buildQuery(
      [...words].reduce((text, [word, value]) => text.replaceAll(word, value), part),
    );
  });
}

/** Whether PostgreSQL says ReadyForQuery after it. */
function isAnswered(frame: Buffer): boolean {
  return 'QSF'.includes(String.fromCharCode(frame[0] ?? 0));
}

async function hangUp(client: RawClient): Promise<string[]> {
  client.send(buildMessage('X'));
  return client.end();
}

const catalogues = ['class', 'proc', 'operator', 'type', 'namespace', 'trigger', 'rewrite', 'inherits', 'aggregate', 'attrdef', 'cast', 'db_role_setting', 'largeobject_metadata']; // prettier-ignore
const stateQuery = `SELECT concat_ws(' ', ${[...catalogues.map((name) => `pg_${name}`), ...Object.keys(untouched), 'public.orders']
  .map((table) => `(SELECT concat(count(*), ':', max(xmin::text::bigint), ':', max(xmax::text::bigint)) FROM ${table})`)
  .join(', ')}) AS state`; // prettier-ignore

/** What a database is like now: the same text for the same state. */
async function stateOf(
  server: BackendServer,
  database: string,
): Promise<{ readonly state: string; readonly harm: readonly string[]; readonly zap: string }> {
  return as(server, database, async (client) => {
    await client.query('SET search_path = pg_catalog; SET standard_conforming_strings = on');
    const value = (query: string): Promise<string> =>
      client
        .query<Record<string, unknown>>(query)
        .then(({ rows }) => String(Object.values(rows[0] ?? {})[0]))
        .catch((error: unknown) => String(error));
    const harm: string[] = [];
    for (const [table, want] of Object.entries(untouched)) {
      const found = await value(`SELECT count(*) FROM ${table}`);
      if (found !== String(want)) harm.push(`${table}: ${found}`);
    }
    const zap = await value(`SELECT oid FROM pg_proc WHERE proname = 'zap'`);
    return { state: await value(stateQuery), harm, zap };
  });
}

/** Listens to the channel that cases tell things through. */
async function listen(
  { host, port, user, password }: BackendServer,
  database: string,
): Promise<{ readonly heard: () => Promise<string[]> }> {
  const client = new Client({ host, port, user, password, database });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('LISTEN "case"');
  const payloads: string[] = [];
  const { promise: ended, resolve } = Promise.withResolvers<undefined>();
  client.on('notification', ({ payload = '' }) => {
    if (payload === 'end') resolve(undefined);
    else payloads.push(payload);
  });
  return {
    heard: async () => {
      await client.query(`NOTIFY "case", 'end'`); // in the order of the commits
      await ended;
      await client.end();
      return payloads;
    },
  };
}

async function as<T>(
  { host, port, user, password }: BackendServer,
  database: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({ host, port, user, password, database });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

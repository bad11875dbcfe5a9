import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import {
  buildCopyFail,
  buildExecute,
  buildFlush,
  buildQuery,
  buildSync,
} from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { bind, close, ofPortal, ofStatement, parse } from '../support/extended-query.ts';
import { metricOf } from '../support/metrics.ts';
import { ruleOf, writePolicy } from '../support/policy-file.ts';
import { Random, scaled } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';
import { assertOneResultEach, waitForSessions } from '../support/results.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

const data = (text: string): Buffer => buildMessage('d', Buffer.from(text));
const binary = int16(1);
const call = (oid: number, argument: Buffer): Buffer =>
  buildMessage(
    'F',
    int32(oid),
    int16(1),
    binary,
    int16(1),
    int32(argument.length),
    argument,
    binary,
  );

const sleeping = 'SELECT pg_sleep(30)';
const endOfScript = `SELECT 'end of script', (SELECT value FROM counter),
  (SELECT string_agg(name, ',' ORDER BY name) FROM pg_prepared_statements),
  (SELECT string_agg(id::text, ',' ORDER BY id) FROM taken)`;

/** Messages by name; those that need a portal follow a Bind. */
const messages: Readonly<Record<string, Buffer>> = {
  parse: parse('', 'SELECT id, name FROM items WHERE id < 3 ORDER BY id'),
  'parse a name': parse('a', "SELECT 'named'"),
  'parse a mistake': parse('', 'SELEC 1'),
  'parse a failure': parse('', 'SELECT 1/(id - id) FROM items'),
  'parse a change': parse('', 'UPDATE counter SET value = value + 1 RETURNING value'),
  'parse a copy in': parse('', 'COPY taken FROM STDIN'),
  'parse a copy out': parse('', 'COPY items TO STDOUT'),
  bind: bind(''),
  'bind a name': bind('a'),
  'bind a portal': bind('', { portal: 'p' }),
  'bind nothing': bind('no such statement'),
  execute: buildExecute('', 0),
  'execute one row': buildExecute('', 1),
  'execute the portal': buildExecute('p', 1),
  'describe the portal': ofPortal(''),
  'describe the statement': ofStatement(''),
  'describe the cursor': ofPortal('c'),
  'execute the cursor': buildExecute('c', 2),
  'close the name': close('S', 'a'),
  'close the portal': close('P', 'p'),
  flush: buildFlush(),
  sync: buildSync(),
  query: buildQuery('SELECT 1'),
  'query two': buildQuery('SELECT 1; SELECT 2'),
  'query a mistake': buildQuery('SELECT 1; SELEC 2'),
  'query nothing': buildQuery(''),
  'query a notice': buildQuery("DO $$ BEGIN RAISE NOTICE 'noted'; END $$"),
  'parse a copy that fails': parse('', 'COPY seen FROM STDIN'),
  'query a copy that fails': buildQuery('COPY seen FROM STDIN'),
  'query a copy in': buildQuery('COPY taken FROM STDIN'),
  'query two copies in': buildQuery('COPY taken FROM STDIN; SELECT 3; COPY taken FROM STDIN'),
  'query a copy out': buildQuery('COPY items TO STDOUT (FORMAT binary)'),
  'declare a cursor': buildQuery('DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id'),
  'copy data': data('7\n8\n'),
  'copy bad data': data('seven\n'),
  'copy done': buildMessage('c'),
  'copy fail': buildCopyFail('given up'),
  'call a function': call(1396 /* abs(int8) */, Buffer.from('fffffffffffffffe', 'hex')),
  'call no function': call(1, Buffer.alloc(4)),
  'parse a refusal': parse('', 'SELECT * FROM forbidden'),
  'query a refusal': buildQuery('SELECT * FROM forbidden'),
  begin: buildQuery('BEGIN'),
  commit: buildQuery('COMMIT'),
  rollback: buildQuery('ROLLBACK'),
};

/** What sleeps until it is cancelled. */
const sleepers: readonly (readonly Buffer[])[] = [
  [buildQuery(sleeping)],
  [parse('', sleeping), bind(''), buildExecute('', 0), buildSync()],
  [buildQuery('BEGIN'), buildQuery(`SELECT 1; ${sleeping}`)],
  [parse('', sleeping), bind(''), buildExecute('', 0)],
];

/** A script that PostgreSQL and a gateway must answer alike. */
function script(random: Random): string[] {
  const names = Object.keys(messages).filter(
    (name) => !/^execute$|one row|portal|^copy|refusal/.test(name),
  );
  const chosen: string[] = [];
  for (let length = 1 + random.below(8); length > 0; length -= 1) {
    const name = random.pick(names);
    chosen.push(name);
    if (name.startsWith('bind') && random.below(3) > 0) {
      if (random.below(2) === 0) chosen.push('describe the portal');
      chosen.push(random.pick(['execute', 'execute one row', 'execute the portal']));
    }
    if (random.below(name.includes('copy') ? 2 : 12) === 0) {
      chosen.push(random.pick(['copy data', 'copy data', 'copy bad data']));
      chosen.push(random.pick(['copy done', 'copy done', 'copy fail', 'copy data']));
    }
    if (random.below(8) === 0)
      chosen.push(random.pick(['bind a portal', 'execute the portal', 'close the portal']));
  }
  return chosen;
}

const framesOf = (names: readonly string[]): Buffer[] =>
  names.map((name) => messages[name] ?? Buffer.alloc(0));
const tidy = framesOf(['copy fail', 'sync', 'rollback']);

/** A policy under which each text is read and judged, and allowed. */
function allowByRules(config: string): void {
  const everything = {
    commands: ['*', 'DO', 'FUNCTION CALL', 'EXECUTE'],
    tables: [{ name: '*' }],
    functions: ['*'],
  };
  const rules = [
    ruleOf({ postgres: everything, action: 'Allow' }, 0),
    ruleOf({ postgres: { tables: [{ name: 'forbidden' }] }, action: 'Deny' }, 1),
  ];
  writePolicy(config, { rules }, 'by-rules.yaml');
}

const modes = [
  { name: 'pipelines that nobody asks about', prepare: () => undefined, seed: 0, rules: false },
  { name: 'pipelines that are allowed by rules', prepare: allowByRules, seed: 100, rules: true },
] as const;

for (const mode of modes) describe(mode.name, () => testPipelines(mode));

/** `seed` makes other scripts of each. */
function testPipelines({ prepare, seed, rules }: (typeof modes)[number]): void {
  let server: BackendServer;
  let through: Through;
  let admin: Client;

  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'password' });
    through = await startThrough(server, { prepare });
    const { host, port, user, password } = server;
    const asAdmin = { host, port, user, password };
    admin = new Client({ ...asAdmin, database: 'postgres' });
    await admin.connect();
    await admin.query('CREATE DATABASE direct');
    const client = new Client({ ...asAdmin, database: 'direct' });
    await client.connect();
    await client.query(`CREATE TABLE counter AS SELECT 0 AS value; CREATE TABLE taken (id int); CREATE VIEW seen AS SELECT 1;
      CREATE TABLE items AS SELECT id, 'item ' || id AS name FROM generate_series(1, 5) AS id`);
    await client.end();
    await admin.query('CREATE DATABASE through TEMPLATE direct'); // with the same OIDs
    const gated = new Client({ ...asAdmin, database: 'through' });
    await gated.connect();
    await gated.query("CREATE TABLE forbidden AS SELECT 'seen' AS secret"); // of which the other server knows nothing
    await gated.end();
  });
  after(async () => {
    clients?.direct.destroy();
    clients?.through.destroy();
    await admin.end();
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const routes = ['direct', 'through'] as const;
  const open = (route: (typeof routes)[number]): Promise<RawClient> => {
    const { host, port, password } = route === 'direct' ? server : through;
    return RawClient.connect({ host, port, password, user: 'postgres', database: route });
  };

  /** Sends what ends a script, and takes everything up to its answer: with it, what the server holds now. */
  async function finish(client: RawClient): Promise<string[]> {
    client.send(...tidy, buildQuery(endOfScript));
    const answers = await client.read((answer) => answer.includes('end of script'));
    if (!client.closed) answers.push(...(await client.read((answer) => answer.startsWith('Z'))));
    return answers.map(withoutType);
  }

  /** An Execute of a cursor is preceded by a Describe, and a refusal is another message: a COPY may fail at either. */
  const withoutType = (answer: string): string =>
    answer.replace(/type 0x\w\w during/, 'type 0x?? during');

  /** A client on either route; both anew when a script has cost them their connection. */
  let clients: { direct: RawClient; through: RawClient } | undefined;
  const both = async (): Promise<{ direct: RawClient; through: RawClient }> => {
    if (clients && !clients.direct.closed && !clients.through.closed) return clients;
    clients = { direct: await open('direct'), through: await open('through') };
    return clients;
  };

  /** PostgreSQL 18 itself may lose track of a pipeline without its Sync: what it says then is no measure. */
  let confusions = 0;
  async function confused(answers: readonly string[]): Promise<boolean> {
    if (!answers.some((answer) => answer.includes('|XX000|M|StartTransactionCommand: ')))
      return false;
    confusions += 1;
    clients?.direct.destroy();
    clients?.through.destroy();
    clients = undefined;
    const { host, port, user, password } = server;
    for (const database of routes) {
      const client = new Client({ host, port, user, password, database });
      await client.connect();
      await client.query('UPDATE counter SET value = 0; TRUNCATE taken');
      await client.end();
    }
    return true;
  }

  /** Scripts that once were answered otherwise. */
  const met: readonly (readonly string[])[] = [
    ['close the name', 'query a copy in', 'copy data', 'copy done'],
    ['close the name', 'parse a failure', 'copy data', 'copy done', 'flush', 'query', 'describe the statement'],
    ['execute the cursor', 'call a function', 'query a notice', 'rollback'],
  ]; // prettier-ignore

  test('of random messages with errors, in and out of transactions, are answered as PostgreSQL answers them', async () => {
    const random = new Random(seed + 4);
    for (let round = -met.length; round < scaled(3_000); round += 1) {
      const names = met.at(round + met.length) ?? script(random);
      const { direct, through: gated } = await both();
      for (const client of [direct, gated]) client.send(...framesOf(names));
      const [wanted, given] = [await finish(direct), await finish(gated)];
      if (await confused(wanted)) continue;
      assert.deepEqual(given, wanted, `round ${round}: ${names.join(', ')}`);
    }
  });

  /** A refusal, and the mistake that stands in its place where nobody refuses. */
  const withoutReason = (answer: string): string =>
    /^E .*\|M\|(relation "forbidden" does not exist|chaperone: denied by)/.test(answer)
      ? 'E refused'
      : answer;

  const refuses = async (): Promise<void> => {
    const random = new Random(seed + 8);
    let refused = 0;
    for (let round = 0; round < scaled(300); round += 1) {
      const names = script(random).slice(0, 7);
      for (let place = 0; place <= names.length; place += 1) {
        const refusal = random.pick(['parse a refusal', 'query a refusal']);
        const around = names.toSpliced(place, 0, refusal);
        const { direct, through: gated } = await both();
        for (const client of [direct, gated]) client.send(...framesOf(around));
        const wanted = (await finish(direct)).map(withoutReason);
        const given = (await finish(gated)).map(withoutReason);
        if (await confused(wanted)) continue;
        assert.deepEqual(given, wanted, `round ${round}: ${around.join(', ')}`);
        if (wanted.includes('E refused')) refused += 1;
      }
    }
    assert.ok(refused > scaled(300), `${refused} were refused`);
    assert.ok(confusions < scaled(300) / 10, `${confusions} scripts confused PostgreSQL`);
  };
  if (rules) test('with a refused statement at any place go on as after any error', refuses);

  test('that are cancelled at any place are answered as PostgreSQL answers them', async () => {
    const random = new Random(seed + 5);
    for (let round = 0; round < scaled(200); round += 1) {
      const before = script(random);
      const later = script(random);
      const sleeper = random.pick(sleepers);
      const answers: string[][] = [];
      const what = `${before.join(', ')} / ${sleepers.indexOf(sleeper)} / ${later.join(', ')}`;
      const now = await both();
      for (const route of routes) {
        const client = now[route];
        client.send(...framesOf(before));
        answers.push(await finish(client));
        if (client.closed) continue;
        client.send(...sleeper, ...framesOf(later));
        await until(`it sleeps: ${what}`, async () => {
          const { rowCount } = await admin.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'",
            [route],
          );
          return rowCount === 1;
        });
        await client.cancel();
        const cancelled = await finish(client);
        assert.ok(
          cancelled.some((answer) => answer.includes('57014')),
          what,
        );
        answers.push(cancelled);
      }
      assert.deepEqual(
        answers.slice(answers.length / 2),
        answers.slice(0, answers.length / 2),
        what,
      );
    }
  });

  test('that end at any place are answered as far as PostgreSQL answers them, and undone as far', async () => {
    const random = new Random(seed + 6);
    for (let round = 0; round < scaled(300); round += 1) {
      const names = script(random);
      const cut = random.below(names.length + 1);
      const play = async (
        route: (typeof routes)[number],
      ): Promise<{ given: string[]; later: string[] }> => {
        const client = await open(route);
        client.send(...framesOf(names.slice(0, cut)));
        const given = (await client.end()).map(withoutType);
        const fresh = await open(route);
        const later = await finish(fresh);
        fresh.destroy();
        return { given, later };
      };
      const direct = await play('direct');
      const gated = await play('through');
      const what = `round ${round}: ${names.slice(0, cut).join(', ')}`;
      // PostgreSQL keeps short replies back until it is asked for them, which the gateway may have done by itself.
      const asked = gated.given.splice(direct.given.length);
      assert.ok(
        asked.every((answer) => /^[123nt] /.test(answer)),
        `${what}: ${asked.join(' / ')}`,
      );
      assert.deepEqual(gated, direct, what);
    }
  });

  test('that are reset at any place leave nothing open', async () => {
    clients?.direct.destroy();
    clients?.through.destroy();
    const random = new Random(seed + 7);
    for (let round = 0; round < scaled(300); round += 1) {
      const client = await open('through');
      client.send(...framesOf(script(random)));
      if (random.below(2) === 0)
        await new Promise((resolve) => setTimeout(resolve, random.below(5)));
      client.reset();
    }
    await until('they are gone from the sidecar and the server', async () => {
      const { rowCount } = await admin.query(
        "SELECT 1 FROM pg_stat_activity WHERE datname = 'through' AND application_name <> 'chaperone'",
      );
      return rowCount === 0 && (await metricOf(through.instance, 'chaperone_sessions')) === 0;
    });
  });

  test('a cancel that comes late meets nothing', async () => {
    const client = await open('through');
    for (let round = 0; round < scaled(500); round += 1) {
      client.send(buildQuery('SELECT 1'));
      const cancelled = client.cancel();
      const first = await client.read((answer) => answer.startsWith('Z'));
      client.send(buildQuery("SELECT 'not cancelled'"));
      const second = await client.read((answer) => answer.startsWith('Z'));
      assert.ok(first.some((answer) => answer.startsWith('C') || answer.includes('57014')));
      assert.ok(
        second.some((answer) => answer.includes('not cancelled')),
        second.join(' / '),
      );
      await cancelled;
    }
    client.destroy();
  });

  test('leave every request that was allowed with one result', async () => {
    await waitForSessions(through.instance);
    const requests = await assertOneResultEach(through.instance);
    assert.ok(requests > scaled(3_000), `${requests} results`);
  });
}

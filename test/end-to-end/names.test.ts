import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildExecute, buildPassword, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage, int16 } from '#core/postgres/reader.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import { startInstance, verifyAll, type TestInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

const none = int16(0);
const parse = (name: string, text: string): Buffer => buildMessage('P', name, text, none);
const run = (name: string): Buffer =>
  Buffer.concat([buildMessage('B', '', name, none, none, none), buildExecute('', 0), buildSync()]);
const mistake = parse('', 'SELEC');
/** An unnamed statement that is run, without the Sync behind it. */
const only = (text: string): Buffer =>
  Buffer.concat([
    parse('', text),
    buildMessage('B', '', '', none, none, none),
    buildExecute('', 0),
  ]);
const portal = (text: string): Buffer =>
  Buffer.concat([parse('', text), buildMessage('B', 'p', '', none, none, none), buildSync()]);
const swap = "DEALLOCATE s; PREPARE s AS SELECT 'other'";
const hidden = `DO $$ BEGIN EXECUTE 'DEALLOCATE s'; EXECUTE 'PREPARE s AS SELECT ''other'''; END $$`;
const failing = hidden.replace('; END', '; RAISE division_by_zero; END');
const cursor = "CLOSE p; DECLARE p CURSOR FOR SELECT 'other'";

describe('a record names the text that ran', () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance();
  });
  after(async () => instance[Symbol.asyncDispose]());

  /** Sends steps, each one write, waits for its ReadyForQuery, and returns the texts of what was run, as recorded. */
  async function texts(
    who: string,
    steps: readonly (readonly [bytes: Buffer, readies: number])[],
  ): Promise<string[]> {
    const socket: Socket = connect(instance.instance.backends['shop']?.port ?? 0, '127.0.0.1');
    await once(socket, 'connect');
    const splitter = new FrameSplitter({
      streamed: new Set(),
      maxMessageBytes: 10_000_000,
      oversized: 'throw',
    });
    let seen = 0;
    socket.on('data', (chunk: Buffer) => {
      for (const { tag } of splitter.push(chunk)) if (tag === 0x5a) seen += 1;
    });
    const parameters = new Map([['user', 'a'], ['database', 'shop']]); // prettier-ignore
    socket.write(
      Buffer.concat([buildStartup(parameters), buildPassword(await instance.token({ sub: who }))]),
    );
    let wanted = 1;
    await until('the login is done', () => seen === wanted, 10_000);
    for (const [bytes, readies] of steps) {
      socket.write(bytes);
      wanted += readies;
      await until(`${wanted} ReadyForQuery`, () => seen === wanted, 10_000);
    }
    socket.destroy();
    const session = await until('the session is stored', async () => {
      const [newest] = await instance.collector().sessions({ who });
      return newest?.endedAt === null ? undefined : newest;
    });
    const ran: string[] = [];
    let text = '';
    for await (const line of transcribe(instance.collector().frames(session.id))) {
      if (line.kind === 'request') text = line.text ?? 'unknown';
      if (line.kind === 'row') ran.push(`${text} -> ${String(line.cells[0])}`);
    }
    return ran;
  }

  const first = Buffer.concat([parse('s', "SELECT 'one'"), buildSync()]);
  const second = parse('s', "SELECT 'two'");
  const cases: [what: string, steps: [Buffer, number][], ran: string[]][] = [
    ['when a second Parse under its name fails', [[first, 1], [Buffer.concat([second, buildSync()]), 1], [run('s'), 1]], ["SELECT 'one' -> one"]],
    ['when a second Parse is skipped after an error', [[first, 1], [Buffer.concat([mistake, second, buildSync()]), 1], [run('s'), 1]], ["SELECT 'one' -> one"]],
    ['when all of that is one pipeline', [[Buffer.concat([first, mistake, buildMessage('C', Buffer.from('S'), 's'), second, buildSync(), run('s')]), 3]], ["SELECT 'one' -> one"]],
    ['when it was closed and made anew', [[first, 1], [Buffer.concat([buildMessage('C', Buffer.from('S'), 's'), second, buildSync(), run('s')]), 2]], ["SELECT 'two' -> two"]],
    ['when the unnamed one is replaced in a pipeline', [[Buffer.concat([parse('', "SELECT 'one'"), run(''), parse('', "SELECT 'two'"), run('')]), 2]], ["SELECT 'one' -> one", "SELECT 'two' -> two"]],
    ['or none, when SQL gave the name to another', [[first, 1], [buildQuery("DEALLOCATE s"), 1], [buildQuery("PREPARE s AS SELECT 'three'"), 1], [run('s'), 1]], ['unknown -> three']],
    ['or none, when SQL gave the name to another in the same write', [[first, 1], [Buffer.concat([buildQuery(swap), run('s')]), 2]], ['unknown -> other']],
    ['or none, when SQL behind a comment did', [[first, 1], [Buffer.concat([buildQuery(`SELECT 'x' WHERE false; /* /**/ */ ${swap}`), run('s')]), 2]], ['unknown -> other']],
    ['or none, when SQL gave the name to another in the same pipeline', [[first, 1], [Buffer.concat([only('DEALLOCATE s'), only("PREPARE s AS SELECT 'other'"), run('s')]), 1]], ['unknown -> other']],
    ['or none, when a DO block gave the name to another', [[first, 1], [buildQuery(hidden), 1], [run('s'), 1]], ['unknown -> other']],
    ['or none, when a DO block did so in the same write', [[first, 1], [Buffer.concat([buildQuery(hidden), run('s')]), 2]], ['unknown -> other']],
    ['or none, when a DO block did so and failed', [[first, 1], [Buffer.concat([buildQuery(failing), run('s')]), 2]], ['unknown -> other']],
    ['or none, when a prepared DO block did so and failed', [[Buffer.concat([first, parse('d', failing), buildSync()]), 2], [run('d'), 1], [run('s'), 1]], ['unknown -> other']],
    ['or none, when SQL gave a portal to a cursor', [[buildQuery('BEGIN'), 1], [portal("SELECT 'one'"), 1], [buildQuery(cursor), 1], [Buffer.concat([buildExecute('p', 0), buildSync()]), 1]], ['fetch all from the cursor "p" -> other']],
    ['or none, when SQL gave a portal to a cursor in the same write', [[buildQuery('BEGIN'), 1], [portal("SELECT 'one'"), 1], [Buffer.concat([buildQuery(cursor), buildExecute('p', 0), buildSync()]), 2]], ['fetch all from the cursor "p" -> other']],
    ['also behind an upsert, which says DO, and text that says more', [[first, 1], [buildQuery('CREATE TEMP TABLE t (i int PRIMARY KEY)'), 1], [Buffer.concat([buildQuery("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING"), run('s')]), 2], [Buffer.concat([buildQuery("SELECT 'close' WHERE false"), run('s')]), 2]], ["SELECT 'one' -> one", "SELECT 'one' -> one"]],
  ]; // prettier-ignore
  for (const [index, [what, steps, ran]] of cases.entries()) {
    test(what, async () => assert.deepEqual(await texts(`case-${index}`, steps), ran));
  }

  test('a notice of megabytes is recorded in pieces, and shipped', async () => {
    const client = await instance.connect({ password: await instance.token({ sub: 'noisy' }) });
    await client.query("DO $$ BEGIN RAISE NOTICE '%', repeat('n', 6000000); END $$");
    await client.query({
      name: 'noise',
      text: "SELECT 1 FROM (SELECT set_config('client_min_messages', 'notice', false)) AS s",
    });
    await client.end();
    await until(
      'the session is stored',
      async () => (await instance.collector().sessions({ who: 'noisy' }))[0]?.endedAt ?? undefined,
    );
  });

  test('and every session verifies', async () => {
    await until('all sessions are stored', async () =>
      (await instance.collector().sessions({})).every(({ endedAt }) => endedAt !== null),
    );
    assert.deepEqual(await verifyAll(instance), ['consistent']);
  });
});

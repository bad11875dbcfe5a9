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

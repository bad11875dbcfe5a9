import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseErrorFields } from '#core/postgres/backend.ts';
import { FrameSplitter } from '#core/postgres/frames.ts';
import {
  buildDescribe,
  buildExecute,
  buildFlush,
  buildPassword,
  buildQuery,
  buildSync,
} from '#core/postgres/frontend.ts';
import { buildMessage, int16 } from '#core/postgres/reader.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { logInToBackend } from '../../sidecar/postgres/backend-login.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { Random, scaled } from '../support/random.ts';
import { until } from '../support/until.ts';

const none = int16(0);
const parse = (name: string, text: string): Buffer => buildMessage('P', name, text, none);
const bind = (statement: string): Buffer => buildMessage('B', '', statement, none, none, none);

/** Messages by name; those that need a portal follow a Bind. */
const messages: Readonly<Record<string, Buffer>> = {
  parse: parse('', 'SELECT id, name FROM products WHERE id < 3 ORDER BY id'),
  'parse a name': parse('a', "SELECT 'named'"),
  'parse a mistake': parse('', 'SELEC 1'),
  'parse a failure': parse('', 'SELECT 1/(id - id) FROM products'),
  'parse a change': parse('', 'UPDATE products SET stock = stock + 1 WHERE id = 1 RETURNING id'),
  bind: bind(''),
  'bind a name': bind('a'),
  'bind nothing': bind('no such statement'),
  execute: buildExecute('', 0),
  'execute one row': buildExecute('', 1),
  'describe the portal': buildDescribe({ kind: 'portal', name: '' }),
  'describe the statement': buildDescribe({ kind: 'statement', name: '' }),
  'close the name': buildMessage('C', Buffer.from('S'), 'a'),
  flush: buildFlush(),
  sync: buildSync(),
  query: buildQuery('SELECT 1'),
  'query two': buildQuery('SELECT 1; SELECT 2'),
  'query a mistake': buildQuery('SELECT 1; SELEC 2'),
  'query nothing': buildQuery(''),
  begin: buildQuery('BEGIN'),
  commit: buildQuery('COMMIT'),
  rollback: buildQuery('ROLLBACK'),
};

/** A script that PostgreSQL and a gateway must answer alike; it ends outside of a transaction. */
function script(random: Random): string[] {
  const names = Object.keys(messages).filter((name) => !/execute|portal/.test(name));
  const chosen: string[] = [];
  for (let length = 1 + random.below(8); length > 0; length -= 1) {
    const name = random.pick(names);
    chosen.push(name);
    if (name.startsWith('bind') && random.below(3) > 0) {
      if (random.below(2) === 0) chosen.push('describe the portal');
      chosen.push(random.pick(['execute', 'execute one row']));
    }
  }
  return [...chosen, 'sync', 'rollback'];
}

describe('pipelines', () => {
  const secrets = {
    backendPassword: 'p'.repeat(32),
    storePassword: 's'.repeat(32),
    ingestToken: 'i'.repeat(32),
    readToken: 'r'.repeat(32),
  };
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance({ secrets });
  });
  after(async () => instance[Symbol.asyncDispose]());

  const direct = async (): Promise<Socket> => {
    // Fourth line of the pid file: the port.
    const port = Number(
      readFileSync(join(instance.data, 'backend/data/postmaster.pid'), 'utf8').split('\n')[3],
    );
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const parameters = new Map([['user', 'shop_app'], ['database', 'shop']]); // prettier-ignore
    const signal = new AbortController().signal;
    await logInToBackend(
      { socket, channel: 'loopback', endPoint: undefined },
      {
        credential: { type: 'Password', username: 'shop_app', password: secrets.backendPassword },
        parameters,
        signal,
      },
    );
    return socket;
  };
  const through = async (): Promise<Socket> => {
    const socket = connect(instance.instance.backends['shop']?.port ?? 0, '127.0.0.1');
    await once(socket, 'connect');
    const parameters = new Map([['user', 'analyst'], ['database', 'shop']]); // prettier-ignore
    socket.write(Buffer.concat([buildStartup(parameters), buildPassword(await instance.token())]));
    await readAnswers(socket, 1);
    return socket;
  };

  /** Reads up to the given number of ReadyForQuery, and says each message in short. */
  async function readAnswers(socket: Socket, readies: number): Promise<string[]> {
    const splitter = new FrameSplitter({
      streamed: new Set(),
      maxMessageBytes: 1_000_000,
      oversized: 'throw',
    });
    const answers: string[] = [];
    let left = readies;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const take = (chunk: Buffer): void => {
      for (const piece of splitter.push(chunk)) {
        if (piece.kind !== 'message') continue;
        const tag = String.fromCharCode(piece.tag);
        const body =
          tag === 'E'
            ? [...parseErrorFields(piece.body)].flat().join('|')
            : piece.body.toString('latin1');
        if (tag !== 'K' && tag !== 'S' && tag !== 'R') answers.push(`${tag} ${body}`);
        if (tag === 'Z') left -= 1;
      }
      if (left <= 0) resolve();
    };
    const closed = (): void => reject(new Error(`closed after ${answers.join(' / ')}`));
    const timer = setTimeout(() => reject(new Error(`stuck after ${answers.join(' / ')}`)), 10_000);
    socket.on('data', take).once('close', closed);
    try {
      await promise;
      return answers;
    } finally {
      clearTimeout(timer);
      socket.off('data', take).off('close', closed);
    }
  }

  /** How many ReadyForQuery a script gets: one a Sync, and one a Query that is not dropped after an error. */
  async function play(socket: Socket, names: readonly string[]): Promise<string[]> {
    const answers: string[] = [];
    const sent = Buffer.concat(names.map((name) => messages[name] ?? Buffer.alloc(0)));
    // A last Sync, whose answer is told by its notice: everything before it has been answered.
    socket.write(Buffer.concat([sent, buildSync(), buildQuery("SELECT 'end of script'")]));
    while (!answers.some((answer) => answer.includes('end of script')))
      answers.push(...(await readAnswers(socket, 1)));
    return answers;
  }

  test('of random messages with errors, in and out of transactions, are answered as PostgreSQL answers them', async () => {
    const random = new Random(4);
    const [plain, gated] = await Promise.all([direct(), through()]);
    for (let round = 0; round < scaled(3_000); round += 1) {
      const names = script(random);
      const wanted = await play(plain, names);
      assert.deepEqual(await play(gated, names), wanted, `round ${round}: ${names.join(', ')}`);
    }
    plain.destroy();
    gated.destroy();
  });

  test('leave every request that was allowed with one result', async () => {
    const client = instance.collector();
    const session = await until('the session has ended', async () => {
      const [newest] = await client.sessions({ who: 'analyst@example.com' });
      return newest?.endedAt === null ? undefined : newest;
    });
    const open = new Set<number>();
    for await (const { header } of client.frames(session.id)) {
      if (header.kind === 'request') open.add(header.seq);
      // A statement that was refused has a result as well.
      else if (header.kind === 'result') open.delete(header.request ?? 0);
    }
    assert.deepEqual([...open], []);
  });
});

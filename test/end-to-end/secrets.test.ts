import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Client } from 'pg';
import { Gauge, Registry } from 'prom-client';
import { startHealth } from '../../runtime/health.ts';
import { findSecret } from '../support/secret-search.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

const linux = process.platform === 'linux' ? false : '/proc is of Linux';

/** Content of everything in a folder, by path. */
function* filesIn(folder: string): Generator<[string, Buffer]> {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && existsSync(path)) yield [path, readFileSync(path)];
  }
}

/** The process and all that it started, by their parents. */
function family(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const stat =
      /^\d+$/.test(name) && existsSync(`/proc/${name}/stat`)
        ? readFileSync(`/proc/${name}/stat`, 'utf8')
        : '';
    const parent = /\) \S (\d+)/.exec(stat)?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const isOf = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && isOf(parents.get(pid)));
  return [...parents.keys()].filter(isOf);
}

describe('secrets', { skip: linux }, () => {
  const secret = (): string => `Aa+/${randomBytes(24).toString('base64')}`;
  const secrets = {
    backendPassword: secret(),
    storePassword: secret(),
    ingestToken: secret(),
    readToken: secret(),
    operatorToken: secret(),
  };
  const planted = `planted/${secret()}`;
  let instance: TestInstance;
  let token = '';
  before(async () => {
    instance = await startInstance({ secrets });
    token = await instance.token();
    // The collector rests, so that the spool keeps what an agent does now.
    process.kill(instance.instance.pids.collector, 'SIGSTOP');
    const client = await instance.connect({ password: token });
    await client.query('SELECT $1::text', ['a parameter']);
    await assert.rejects(client.query('SELECT * FROM nothing'));
    await client.end();
    const intruder = new Client(await instance.login({ password: `${token}x` }));
    intruder.on('error', () => undefined);
    await assert.rejects(intruder.connect());
  });
  after(async () => instance[Symbol.asyncDispose]());

  /** Every place where something of the instance could be read, with its bytes. */
  async function* places(): AsyncGenerator<[string, Buffer]> {
    yield* filesIn(instance.data);
    yield* filesIn(instance.config);
    for (const pid of family(instance.instance.pids.supervisor)) {
      for (const name of ['cmdline', 'environ']) {
        const path = `/proc/${pid}/${name}`;
        if (existsSync(path)) yield [path, readFileSync(path)];
      }
    }
    yield ['output', Buffer.from(instance.output)];
    yield [
      'metrics',
      Buffer.from(await (await fetch(instance.instance.sidecar.metricsUrl)).text()),
    ];
  }

  async function found(text: string): Promise<string[]> {
    const hits: string[] = [];
    for await (const [path, bytes] of places()) {
      for (const how of findSecret(bytes, text)) hits.push(`${path}: ${how}`);
    }
    return hits;
  }

  const forms: [string, Buffer][] = [
    ['plain', Buffer.from(planted)],
    ...[0, 1, 2].map((offset): [string, Buffer] => [
      `base64 at offset ${offset}`,
      Buffer.from(Buffer.from(`${'x'.repeat(offset)}${planted}yyy`).toString('base64')),
    ]),
    ['base64url', Buffer.from(Buffer.from(planted).toString('base64url'))],
    ['hex', Buffer.from(Buffer.from(planted).toString('hex'))],
    ['URL-encoded', Buffer.from(encodeURIComponent(planted))],
    ['gzip', gzipSync(`before ${planted} after`)],
    ['zstd', zstdCompressSync(`before ${planted} after`)],
  ];
  for (const [name, bytes] of forms) {
    test(`the search finds a planted secret as ${name} in a file and in a log`, async () => {
      const file = join(instance.data, 'planted');
      const log = join(instance.data, 'log/planted.log');
      writeFileSync(
        file,
        Buffer.concat([Buffer.from('leading '), bytes, Buffer.from(' trailing')]),
      );
      appendFileSync(log, bytes);
      const hits = await found(planted);
      rmSync(file);
      rmSync(log);
      assert.ok(
        hits.some((hit) => hit.startsWith(file)) && hits.some((hit) => hit.startsWith(log)),
        hits.join('\n'),
      );
    });
  }

  test('the search finds a planted secret in the arguments and the environment of a process', async () => {
    const child = spawn('sleep', ['60'], { env: { PLANTED: planted }, argv0: `sleep-${planted}` });
    await once(child, 'spawn');
    const read = (name: string): Buffer => readFileSync(`/proc/${child.pid}/${name}`);
    await until('it runs', () => read('cmdline').includes('sleep-'));
    assert.deepEqual(findSecret(read('cmdline'), planted), ['plain']);
    assert.deepEqual(findSecret(read('environ'), planted), ['plain']);
    assert.ok(family(process.pid).includes(child.pid ?? 0));
    child.kill();
  });

  test('the search finds a planted secret in a record of the spool', async () => {
    const client = await instance.connect();
    await client.query(`SELECT '${planted}'`);
    await client.end();
    const hits = await found(planted);
    assert.ok(
      hits.some((hit) => hit.includes('/spool/')),
      hits.join('\n'),
    );
  });

  test('the search finds a planted secret in a metric', async () => {
    const registry = new Registry();
    const gauge = new Gauge({
      name: 'planted',
      help: 'x',
      labelNames: ['content'],
      registers: [registry],
    });
    gauge.set({ content: planted }, 1);
    const listen = { host: '127.0.0.1', port: 0 };
    const { server, url } = await startHealth({ listen, registry, notReady: () => undefined });
    const text = await (await fetch(url)).text();
    server.close();
    server.closeAllConnections();
    assert.deepEqual(findSecret(Buffer.from(text), planted), ['plain']);
  });

  test('no password and no token is in any file, record, log, metric, argument or environment', async () => {
    const signature = token.split('.').at(-1) ?? '';
    const tokens = [token, signature, signature.slice(0, 40)];
    const passwords = [secrets.backendPassword, secrets.storePassword, secrets.ingestToken];
    for (const text of [...passwords, ...tokens]) assert.deepEqual(await found(text), []);
  });

  test('the tokens of readers and operators are each in their own file alone', async () => {
    for (const [token, file] of [
      [secrets.readToken, 'read-token'],
      [secrets.operatorToken, 'operator-token'],
    ] as const) {
      const hits = await found(token);
      assert.deepEqual(
        hits.map((hit) => hit.replace(/: .*/, '')),
        [join(instance.data, file)],
      );
    }
  });

  test('none of it is in the store either', async () => {
    process.kill(instance.instance.pids.collector, 'SIGCONT');
    // Just continued it may not have asked its database yet, and says so.
    await until('the sessions are stored', async () => {
      const asked = instance.collector().sessions({ who: 'analyst@example.com' });
      return (await asked.catch(() => [])).length >= 2;
    });
    const client = instance.collector();
    for (const { id } of await client.sessions({})) {
      for await (const frame of client.frames(id)) {
        for (const text of [token, secrets.backendPassword, secrets.ingestToken]) {
          assert.deepEqual(findSecret(frame.payload, text), []);
          assert.deepEqual(findSecret(frame.headerBytes, text), []);
        }
      }
    }
    const signature = token.split('.').at(-1) ?? '';
    for (const text of [
      secrets.backendPassword,
      secrets.storePassword,
      secrets.ingestToken,
      signature,
    ]) {
      assert.deepEqual(await found(text), []);
    }
  });
});

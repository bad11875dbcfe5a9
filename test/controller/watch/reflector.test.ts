import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { pino } from 'pino';
import { createLocalCa } from '../../../cli/dev/certificates.ts';
import { KubeApi, type KubeObject } from '../../../controller/watch/kube-api.ts';
import { Reflector } from '../../../controller/watch/reflector.ts';
import { kubeconfigFor } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

const named = (name: string, version: number, more: object = {}): KubeObject => ({
  metadata: { name, namespace: 'n', resourceVersion: String(version) },
  ...more,
});

/** A server of one list, whose watches a test writes to. */
interface ListServer extends AsyncDisposable {
  readonly api: KubeApi;
  items: KubeObject[];
  version: number;
  /** Answers lists with this status instead. */
  refusal: number | undefined;
  /** Versions from which watches were asked for. */
  readonly watched: string[];
  readonly lists: () => number;
  readonly watches: Set<ServerResponse>;
  send(type: string, object: object): void;
}

async function startListServer(pageSize = 100): Promise<ListServer> {
  const ca = await createLocalCa(Date.now());
  const watches = new Set<ServerResponse>();
  const watched: string[] = [];
  let lists = 0;
  const server = createServer(await ca.issue('api'), (request, response) => {
    const { searchParams: query } = new URL(request.url ?? '/', 'http://api');
    if (query.get('watch') === '1') {
      watched.push(query.get('resourceVersion') ?? '');
      response.writeHead(200).flushHeaders();
      watches.add(response.on('close', () => watches.delete(response)));
      return;
    }
    if (self.refusal !== undefined) {
      response.writeHead(self.refusal).end('{}');
      return;
    }
    lists += 1;
    const from = Number(query.get('continue') ?? 0);
    const to = from + Math.min(pageSize, Number(query.get('limit')));
    const page = self.items.slice(from, to);
    const more = to < self.items.length ? { continue: String(to) } : {};
    const metadata = { resourceVersion: String(self.version), ...more };
    response.end(JSON.stringify({ metadata, items: page }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  const config = new KubeConfig();
  config.loadFromString(kubeconfigFor(`https://127.0.0.1:${port}`, ca));
  const self: ListServer = {
    api: new KubeApi(config),
    items: [],
    version: 1,
    refusal: undefined,
    watched,
    lists: () => lists,
    watches,
    send: (type, object) => {
      for (const watch of watches) watch.write(`${JSON.stringify({ type, object })}\n`);
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
  return self;
}

/** What is kept of a list, with what was said to have changed. */
interface Followed extends Disposable {
  readonly reflector: Reflector<KubeObject>;
  readonly changed: string[];
}

function follow(server: ListServer): Followed {
  const stopping = new AbortController();
  const changed: string[] = [];
  const reflector = new Reflector({
    api: server.api,
    path: '/api/v1/things',
    keep: ({ metadata, spec, ignored }) => {
      const { name } = metadata as { name: string }; // as `named` makes them
      return ignored === true ? undefined : { metadata: { name }, spec };
    },
    onChange: (key) => changed.push(key),
    log: pino({ level: 'silent' }),
    signal: stopping.signal,
  });
  return { reflector, changed, [Symbol.dispose]: () => stopping.abort() };
}

const namesIn = ({ reflector }: Followed): string[] =>
  Array.from(reflector.values(), ({ metadata }) => (metadata as { name: string }).name).sort();

describe('what is watched', () => {
  test('is listed in pages, and kept current', async () => {
    await using server = await startListServer(2);
    server.items = ['a', 'b', 'c', 'd', 'e'].map((name) => named(name, 1));
    using followed = follow(server);
    await until('a watch', () => server.watches.size === 1);
    assert.deepEqual(namesIn(followed), ['a', 'b', 'c', 'd', 'e']);
    assert.equal(server.lists(), 3);
    server.send('ADDED', named('f', 2));
    server.send('MODIFIED', named('a', 3, { ignored: true }));
    server.send('DELETED', named('b', 4));
    await until('they came', () => followed.changed.length === 8);
    assert.deepEqual(namesIn(followed), ['c', 'd', 'e', 'f']);
  });

  test('is listed by fewer at once where objects are long, and an object at a time at last', async () => {
    await using server = await startListServer();
    const long = { spec: 'a'.repeat(9 * 1024 * 1024) };
    server.items = ['a', 'b', 'c', 'd'].map((name) => named(name, 1, long));
    using followed = follow(server);
    await until('a watch', () => server.watches.size === 1);
    assert.deepEqual(namesIn(followed), ['a', 'b', 'c', 'd']);
    assert.equal(server.lists(), 4 + 4, '100, 25, 7 and 2 of them were too long');
  });

  test('is no news where only what nobody keeps has changed', async () => {
    await using server = await startListServer();
    server.items = [named('a', 1)];
    using followed = follow(server);
    await until('a watch', () => server.watches.size === 1);
    server.send('MODIFIED', named('a', 2, { status: 'ready' }));
    server.send('MODIFIED', named('a', 3, { status: 'ready', spec: 'new' }));
    server.send('ADDED', named('b', 4));
    await until('they came', () => followed.reflector.size === 2);
    assert.deepEqual(followed.changed, ['n/a', 'n/a', 'n/b']);
  });

  test('goes on where it was when a watch ends, and counts bookmarks', async () => {
    await using server = await startListServer();
    using _ = follow(server);
    await until('a watch', () => server.watches.size === 1);
    server.send('BOOKMARK', named('', 41));
    for (const watch of server.watches) watch.end();
    await until('another watch', () => server.watched.length === 2);
    assert.deepEqual(server.watched, ['1', '41']);
    assert.equal(server.lists(), 1);
  });

  for (const [what, end] of [
    ['the server has forgotten where it was', (server: ListServer) => server.send('ERROR', { kind: 'Status', code: 410 })],
    ['the connection breaks', (server: ListServer) => server.watches.forEach((watch) => watch.destroy())],
    ['what comes is no JSON', (server: ListServer) => server.watches.forEach((watch) => watch.write('{"type":\n'))],
  ] as const) {
    test(`is listed anew when ${what}`, async () => {
      await using server = await startListServer();
      server.items = [named('a', 1), named('b', 1)];
      using followed = follow(server);
      await until('a watch', () => server.watches.size === 1);
      server.items = [named('b', 1), named('c', 2)];
      server.version = 2;
      end(server);
      await until('it is listed', () => server.lists() === 2);
      await until('it is right', () => namesIn(followed).join() === 'b,c');
      assert.deepEqual(followed.changed.slice(2).sort(), ['n/a', 'n/c'], 'what stayed is no news');
    });
  } // prettier-ignore

  test('is not there before everything was listed, and comes once the server answers', async () => {
    await using server = await startListServer();
    server.refusal = 503;
    using followed = follow(server);
    await until('it was refused', () => !followed.reflector.synced);
    server.refusal = undefined;
    server.items = [named('a', 1)];
    await until('it is listed', () => followed.reflector.synced);
    assert.equal(followed.reflector.size, 1);
  });
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, beforeEach, describe, test } from 'node:test';
import { pino } from 'pino';
import { maxLineBytes, type BundleMessage } from '#core/bundle-message.ts';
import type { Built } from '../../controller/bundles.ts';
import { createMetrics, type Metrics } from '../../controller/metrics.ts';
import { Acknowledged } from '../../controller/status/acknowledged.ts';
import { Streams } from '../../controller/streams.ts';
import { until } from '../support/until.ts';

const network = { resolver: '10.96.0.10:53', searchDomains: [], deniedAddresses: [] };
const workload = { pod: 'agent', namespace: 'agents', serviceAccount: 'agent', uid: 'u', labels: {} }; // prettier-ignore
const bundle = (revision: string, changes: Partial<BundleMessage> = {}): Built => ({
  kind: 'bundle',
  message: { type: 'bundle', version: 1, revision, workload, attachment: 'Namespace', resources: [], keys: {}, credentials: {}, network, authorities: { controller: '', collector: '' }, ...changes },
  parts: [],
  faults: [],
}); // prettier-ignore

describe('streams of sidecars', () => {
  let server: Server;
  let metrics: Metrics;
  let streams: Streams | undefined;
  let built: Built;
  /** In which turn of the event loop each bundle was made. */
  let builds: number[] = [];
  let turn = 0;
  const counted = (): Built => {
    builds.push(turn);
    setImmediate(() => (turn += 1));
    return built;
  };

  before(async () => {
    server = createServer((request, response) =>
      streams?.add(
        { namespace: 'agents', name: 'agent', uid: request.url ?? '' },
        response,
        60_000,
      ),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => {
    streams?.close(0);
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    streams?.close(0);
    metrics = createMetrics({
      streams: () => 0,
      pods: () => 0,
      certificateExpiresMs: () => 0,
      leading: () => false,
    });
    built = bundle('1');
    const acknowledged = new Acknowledged(() => undefined);
    streams = new Streams({ bundleFor: counted, metrics, acknowledged, log: pino({ level: 'silent' }) }); // prettier-ignore
  });

  /** Follows as a pod's sidecar does: what it is told, one after the other. */
  async function follow(
    uid: string,
  ): Promise<{ next(): Promise<object>; ended: Promise<unknown> }> {
    const { port } = server.address() as AddressInfo; // a TCP server's address is one
    const [response] = (await once(get({ host: '127.0.0.1', port, path: uid, agent: false }), 'response')) as [IncomingMessage]; // prettier-ignore
    response.on('error', () => undefined); // the server goes at the end
    const lines = createInterface({ input: response })[Symbol.asyncIterator]();
    return {
      next: async () => JSON.parse(String((await lines.next()).value)) as object,
      ended: new Promise((done) => response.once('close', done)),
    };
  }

  const outcomes = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await metrics.bundles.get()).values.map(({ labels, value }) => [String(labels.outcome), value]), // prettier-ignore
    );

  test('are told of sessions that were to end while they were away', async () => {
    streams?.kill('01a2');
    const stream = await follow('/late');
    assert.deepEqual(await stream.next(), { type: 'kill', session: '01a2' });
    assert.equal((await stream.next() as BundleMessage).revision, '1'); // prettier-ignore
  });

  test('are one for a pod, the newest', async () => {
    const [first, other] = [await follow('/same'), await follow('/another')];
    await Promise.all([first.next(), other.next()]);
    const second = await follow('/same');
    await first.ended;
    await second.next();
    streams?.kill('01a2');
    for (const each of [second, other])
      assert.deepEqual(await each.next(), { type: 'kill', session: '01a2' });
  });

  test('are told of a change one in a turn of the event loop, and only where it concerns them', async () => {
    const all = await Promise.all(['/one', '/two', '/three'].map((uid) => follow(uid)));
    await Promise.all(all.map((each) => each.next()));
    builds = [];
    streams?.changed('others/');
    streams?.changed('agents/other');
    streams?.changed('agents/');
    await until('all are told', () => builds.length === 3 || undefined);
    assert.equal(new Set(builds).size, 3);
    builds = [];
    streams?.changed('agents/agent');
    await until('all are told', () => builds.length === 3 || undefined);
  });

  test('keep the bundle they have where the next is longer than a sidecar takes, which does not count as sent', async () => {
    const stream = await follow('/long');
    await stream.next();
    const wide = 'ä'.repeat(maxLineBytes / 2); // as many characters as fit, and too many bytes
    built = bundle('2', { keys: { issuer: [{ kid: wide }] } });
    streams?.changed();
    await until('it is held back', async () => (await outcomes())['held'] === 1 || undefined);
    built = bundle('3');
    streams?.changed();
    assert.equal((await stream.next() as BundleMessage).revision, '3'); // prettier-ignore
    assert.deepEqual(await outcomes(), { sent: 2, held: 1 });
  });
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import type { BundleMessage, ResourceDocument } from '#core/bundle-message.ts';
import type { Frame } from '#core/record/frame.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { createNamedCa } from '../support/named-ca.ts';
import { ready, startOwnSidecar, type OwnSidecar } from '../support/own-sidecar.ts';
import { startPeerCollector, type PeerCollector } from '../support/peer-collector.ts';
import { bundleLine, startPeerController, type PeerController } from '../support/peer-controller.ts'; // prettier-ignore
import { startRawBackend } from '../support/raw-backend.ts';
import { psql, type PsqlResult } from '../support/psql.ts';
import { until } from '../support/until.ts';

const apiVersion = 'chaperone.dev/v1alpha1';
const policy = {
  apiVersion,
  kind: 'ClusterAuditPolicy',
  metadata: { name: 'everything' },
  spec: { podSelector: {} },
};

describe('the sidecar of a pod', () => {
  let database: BackendServer;
  let controller: PeerController;
  let collector: PeerCollector;
  let sidecar: OwnSidecar;
  let password = '';
  let revisions = 0;

  before(async () => {
    database = await startBackendServer({ version: 18 });
    ({ password } = database);
    // Names that nobody could look up: all that leads to the servers is the addresses of their Services.
    controller = await startPeerController(await createNamedCa('controller.invalid'));
    collector = await startPeerCollector(await createNamedCa('collector.invalid'));
    const named = (name: string, { port }: URL): URL => new URL(`https://${name}.invalid:${port}`);
    sidecar = await startOwnSidecar({
      controller: { url: named('controller', controller.url), ca: controller.ca },
      collector: { url: named('collector', new URL(collector.url)).href, ca: collector.ca },
    });
  });

  after(async () => {
    await sidecar[Symbol.asyncDispose]();
    await collector[Symbol.asyncDispose]();
    await controller[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  /** Puts a bundle in force in which the pod may use the database, with what a test gives in its place. */
  async function send(given: Partial<BundleMessage> = {}): Promise<void> {
    revisions += 1;
    const revision = `r${revisions}`;
    const orders = ordersAt(`127.0.0.1:${database.port}`);
    const credentials = { orders: { type: 'Password', username: 'postgres', password } } as const;
    const authorities = { controller: controller.ca, collector: collector.ca };
    controller.write(bundleLine(controller, { revision, attachment: 'Explicit', resources: [policy, orders], credentials, authorities, ...given })); // prettier-ignore
    await until('it is acknowledged', () => controller.acks.some((ack) => ack.revision === revision && ack.accepted)); // prettier-ignore
  }

  /** An agent that insists on the certificate of the host that it dials. */
  function agent(script: string, host = 'orders-db', trusted = join(sidecar.trust, 'ca.crt')): Promise<PsqlResult> {
    const settings = `hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=${trusted}`;
    return psql({ host, port: sidecar.port, password: 'of the agent', settings }, script, ['-At']);
  } // prettier-ignore

  const recorded = (): Frame[] =>
    [...collector.streams.keys()].flatMap((stream) => collector.framesOf(stream));

  test('is not ready before the controller has said what may pass, and then agents can trust it', async () => {
    await until('it has asked', () => controller.tokens.length > 0);
    assert.equal(controller.tokens[0], 'Bearer token for the controller');
    await until('it answers', async () => (await sidecar.readiness()) === 503);
    assert.deepEqual(readdirSync(sidecar.trust).sort(), ['ca.crt', 'ca.p12']);
    await send();
    await ready(sidecar);
  });

  test('logs in for an agent that verifies whom it has dialled, by name or by address', async () => {
    for (const host of ['orders-db', 'localhost', '127.0.0.1'])
      assert.deepEqual((await agent('SELECT 42', host)).out, '42\n', host);
  });

  test('uses a credential that was replaced from the next login on', async () => {
    await using admin = await connected(database);
    await admin.client.query("ALTER ROLE postgres PASSWORD 'the next one'");
    password = 'the next one';
    assert.match((await agent('SELECT 42')).err, /backend/);
    await send();
    assert.equal((await agent('SELECT 42')).out, '42\n');
  });

  test('keeps what is in force, and its backends, while the controller errs', async () => {
    const before = controller.acks.length;
    controller.write(bundleLine(controller, { revision: 'wrong', resources: [{ kind: 'Nothing' }] })); // prettier-ignore
    await until('it is refused', () => controller.acks.length > before);
    controller.write('{"type":"bundle"}\n');
    assert.equal((await agent('SELECT 42')).out, '42\n');
    await send();
  });

  test('dials no upstream by the hosts file that its agents can write, nor takes loopback for a safe place', async () => {
    const heard: string[] = [];
    let connections = 0;
    await using impostor = await startRawBackend(({ socket, onMessage }) => {
      connections += 1;
      onMessage((_tag, body) => {
        heard.push(String(body));
        socket.destroy();
      });
      socket.write(Buffer.from('520000000800000003', 'hex')); // AuthenticationCleartextPassword
    });
    for (const host of ['localhost', '127.0.0.1']) {
      await send({ resources: [policy, ordersAt(`${host}:${impostor.port}`)] });
      assert.match((await agent('SELECT 42')).err, /backend/, host);
    }
    assert.deepEqual(heard, [], 'it was given a password');
    assert.equal(connections, 1, 'only one of them was named by its address');
    await send();
  });

  test('keeps what agents trust over a restart in place, and ships what it had left', async () => {
    const trusted = join(sidecar.trust, '..', 'as-an-agent-read-it.crt');
    copyFileSync(join(sidecar.trust, 'ca.crt'), trusted);
    collector.intercept = () => ({ status: 503, body: {} });
    assert.equal((await agent("SELECT 'before'")).out, 'before\n');
    const [stream] = collector.streams.keys();
    await sidecar.restart('SIGKILL');
    collector.intercept = undefined;
    assert.equal((await agent('SELECT 42', 'orders-db', trusted)).out, '42\n');
    const left = await until('the stream before has come whole', () => collector.framesOf(stream ?? '').find(({ header }) => header.kind === 'stream.end')); // prettier-ignore
    assert.equal(left.header.kind === 'stream.end' && left.header.reason, 'recovered');
    assert.ok(collector.framesOf(stream ?? '').some(({ payload }) => String(payload).includes("SELECT 'before'"))); // prettier-ignore
  });

  test('knows its controller by what was announced last when it is restarted in place', async () => {
    const next = await createNamedCa('controller.invalid');
    const both = `${controller.ca}${next.certificate}`;
    await send({ authorities: { controller: both, collector: collector.ca } });
    await controller[Symbol.asyncDispose]();
    controller = await startPeerController(next, Number(controller.url.port));
    await Promise.all([sidecar.restart('SIGKILL'), send()]);
    assert.equal((await agent('SELECT 42')).out, '42\n');
  });

  test('ends the sessions of a backend that is withdrawn, on record', async () => {
    const client = new Client({ host: '127.0.0.1', port: sidecar.port, user: 'a', database: 'postgres' }); // prettier-ignore
    const errors: string[] = [];
    client.on('error', ({ message }) => errors.push(message));
    await client.connect();
    const ended = new Promise<void>((resolve) => void client.once('end', resolve));
    await send({ resources: [policy], credentials: {} });
    await ended;
    assert.match(errors[0] ?? 'nothing', /access to this backend was withdrawn/);
    await until('it is on record', () => recorded().some(({ header }) => header.kind === 'session.end' && header.reason === 'access-withdrawn')); // prettier-ignore
    await send();
  });

  test('ships all that it has when it is stopped, and says of each session how far the pod is held', async () => {
    assert.equal((await agent('SELECT 42')).out, '42\n');
    sidecar.process.kill('SIGTERM');
    const [code] = await once(sidecar.process, 'close');
    assert.equal(code, 0);
    const streams = [...collector.streams.keys()].map((stream) => collector.framesOf(stream));
    const last = streams.at(-1)?.filter(({ header }) => header.kind === 'stream.end') ?? [];
    assert.deepEqual(last.map(({ header }) => header.kind === 'stream.end' && header.reason), ['stopped']); // prettier-ignore
    const attachments = recorded().flatMap(({ header }) => (header.kind === 'session.start' ? [header.attachment] : [])); // prettier-ignore
    assert.deepEqual([...new Set(attachments)], ['Explicit']);
  });
});

function ordersAt(address: string): ResourceDocument {
  return {
    apiVersion,
    kind: 'Backend',
    metadata: { name: 'orders' },
    spec: {
      protocol: 'Postgres',
      hosts: ['orders-db'],
      ports: [5432],
      upstream: { address, tls: { mode: 'Disable' } },
      credential: { type: 'Password', secretRef: { name: 'orders' } },
      consumers: [{ namespace: 'agents' }],
    },
  };
}

async function connected({ host, port, user, password }: BackendServer) {
  const client = new Client({ host, port, user, password, database: 'postgres' });
  await client.connect();
  return { client, [Symbol.asyncDispose]: () => client.end() };
}

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import pino from 'pino';
import { isRefusal } from '#core/operation.ts';
import { combine } from '#core/policy/combine.ts';
import { parseResource } from '#core/policy/parse.ts';
import { resolve } from '#core/policy/resolve.ts';
import { noLimits } from '#core/policy/rules.ts';
import { oneCertificate } from '../../sidecar/trust/agent-tls.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import type { SidecarConfig } from '../../sidecar/config.ts';
import { Credentials } from '../../sidecar/credentials.ts';
import { Host } from '../../sidecar/host.ts';
import { idleMetrics } from '../support/idle-metrics.ts';
import { Grammar } from '../../sidecar/postgres/grammar/grammar.ts';
import { openSession, openSpool, type TestSpool } from '../support/sidecar-session.ts';

async function startHost(spool: TestSpool, maxSessions: number) {
  const labels = new Map<string, string>();
  const workload = { pod: 'p', namespace: 'n', serviceAccount: 's', labels };
  const metrics = idleMetrics();
  const lines: string[] = [];
  const config: Partial<SidecarConfig> = { workload, maxSessions }; // all that it asks for here
  const host = new Host({
    config: config as SidecarConfig,
    writer: spool.writer,
    commits: { ackedSeq: 0, committed: () => undefined },
    credentials: new Credentials({}),
    grammar: new Grammar(), // which starts no thread before it is asked
    tls: oneCertificate(await (await createLocalCa(Date.now())).issue('test')),
    metrics,
    log: pino({}, { write: (line) => lines.push(line) }),
    routes: {
      connectTo: new Map(),
      lookupFor: undefined,
      isDenied: () => false,
      trustsLoopback: true,
    },
    refreshKeys: async () => undefined,
  });
  const { resource } = parseResource({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'ClusterAuditPolicy',
    metadata: { name: 'test' },
    spec: { podSelector: {}, identity: 'Workload' },
  });
  const { bundle } = resolve(resource ? [resource] : [], workload, new Map());
  return { host, bundle, lines, metrics };
}

test('each change of the policies in force is on record, once', async () => {
  using spool = openSpool();
  const { host, bundle } = await startHost(spool, 0);
  assert.ok(bundle);
  host.apply(bundle);
  host.apply({ ...bundle }); // new keys of an issuer change nothing that is decided
  host.apply({ ...bundle, revision: 'next' });
  await spool.writer.turn();
  const changes = spool.frames().flatMap(({ header }) => (header.kind === 'policy.changed' ? [header.revision] : [])); // prettier-ignore
  assert.deepEqual(changes, [bundle.revision, 'next']);
  host.drain();
});

test('what the rules of a pod have refused is on record, or whoever says so hears that it is not', async () => {
  let dropped = 0;
  const tell = async (spool: TestSpool): Promise<void> => {
    const { host } = await startHost(spool, 0);
    host.recordRefused(7, () => (dropped += 1));
    await spool.writer.turn();
    host.drain();
  };
  using spool = openSpool();
  await tell(spool);
  const counts = spool.frames().flatMap(({ header }) => (header.kind === 'packets.refused' ? [header.packets] : [])); // prettier-ignore
  assert.deepEqual([counts, dropped], [[7], 0]);
  using full = openSpool({ maxBytes: 0 });
  await tell(full);
  assert.equal(dropped, 1);
});

describe('what a host refuses', () => {
  const cases: [code: string, reason: string, policy: boolean][] = [
    ['too-many-connections', 'too many sessions', true],
    ['no-policy', 'no policy', false],
  ];
  for (const [code, reason, policy] of cases) {
    test(`with ${code} is recorded, counted and logged as "${reason}"`, async () => {
      using spool = openSpool();
      const { host, bundle, lines, metrics } = await startHost(spool, 0);
      const { who, target } = openSession(spool.writer);
      if (policy && bundle) host.apply(bundle);
      const opened = await host.open(who, target);
      assert.equal(isRefusal(opened) && opened.code, code);
      await spool.writer.turn();
      const failed = spool.frames().flatMap(({ header }) => (header.kind === 'auth.failed' ? [header] : [])); // prettier-ignore
      assert.deepEqual(
        failed.map((header) => [header.reason, header['client.address'], header.attempts]),
        [[reason, target.client.address, 1]],
      );
      const { values } = await metrics.logins.get();
      assert.deepEqual(values.map(({ labels, value }) => [labels.outcome, value]), [['refused', 1]]); // prettier-ignore
      assert.match(lines.join(''), new RegExp(`"reason":"${reason}".*"a login was refused"`));
      // However many follow, the spool and the log are not filled with them.
      for (let again = 0; again < 100; again += 1) await host.open(who, target);
      assert.equal(lines.length, 20);
      host.drain();
    });
  }

  test('with too-many-sessions is recorded as a login is, until a session ends', async () => {
    using spool = openSpool();
    const { host, bundle } = await startHost(spool, 10);
    const { who, target } = openSession(spool.writer);
    assert.ok(bundle?.policy);
    const backends = new Map([[target.backend.name, target.backend]]);
    const [policy] = bundle.policy.policies;
    assert.ok(policy);
    const limits = { ...noLimits, sessions: 1 };
    const enforcing = { ...policy, spec: { ...policy.spec, mode: 'Enforce', limits } } as const;
    host.apply({ ...bundle, backends, policy: combine([enforcing]) });
    const first = await host.open(who, target);
    assert.ok(!isRefusal(first));
    const second = await host.open(who, target);
    assert.equal(isRefusal(second) && second.code, 'too-many-sessions');
    await spool.writer.turn();
    assert.deepEqual(
      spool.frames().flatMap(({ header }) => (header.kind === 'auth.failed' ? [header.reason] : [])), // prettier-ignore
      ['session limit'],
    );
    first.end('agent-closed');
    const third = await host.open(who, target);
    assert.ok(!isRefusal(third));
    third.end('agent-closed');
    host.drain();
  });

  test('when its backend was withdrawn while the login went on', async () => {
    using spool = openSpool();
    const { host, bundle } = await startHost(spool, 10);
    const { who, target } = openSession(spool.writer);
    if (bundle)
      host.apply({ ...bundle, backends: new Map([[target.backend.name, target.backend]]) });
    assert.equal(isRefusal(await host.open(who, target)), false);
    if (bundle) host.apply(bundle); // which has no backends
    const opened = await host.open(who, target);
    assert.equal(isRefusal(opened) && opened.code, 'session-ended');
    host.drain();
  });
});

test('a session is recorded with how far its pod is held to the sidecar, where that is known', async () => {
  using spool = openSpool();
  const { host, bundle } = await startHost(spool, 10);
  const { who, target } = openSession(spool.writer);
  assert.ok(bundle);
  const backends = new Map([[target.backend.name, target.backend]]);
  for (const attachment of ['Explicit', undefined, 'Namespace'] as const) {
    host.apply({ ...bundle, backends }, attachment);
    assert.ok(!isRefusal(await host.open(who, target)));
  }
  await spool.writer.turn();
  const recorded = spool.frames().flatMap(({ header }) => (header.kind === 'session.start' ? [header.attachment] : [])); // prettier-ignore
  assert.deepEqual(recorded.slice(-3), ['Explicit', undefined, 'Namespace']);
  host.drain();
});

test('a bundle that has lapsed ends what is open and lets nothing in, until the next one comes', async () => {
  using spool = openSpool();
  const { host, bundle } = await startHost(spool, 10);
  const { who, target } = openSession(spool.writer);
  assert.ok(bundle);
  const applied = { ...bundle, backends: new Map([[target.backend.name, target.backend]]) };
  host.apply(applied);
  const open = await host.open(who, target);
  assert.ok(!isRefusal(open));
  host.lapse();
  assert.equal(open.signal.aborted, true);
  assert.deepEqual(open.signal.reason.reason, 'access-withdrawn');
  for (const refused of [await host.open(who, target), await host.identify(target, undefined)])
    assert.match(isRefusal(refused) ? refused.message : 'none', /has not heard of its policies for too long/); // prettier-ignore
  assert.equal(host.bundle, undefined);
  host.apply(applied);
  assert.ok(!isRefusal(await host.open(who, target)));
  host.drain();
});

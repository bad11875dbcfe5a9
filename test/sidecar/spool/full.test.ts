import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { publicKeyHex } from '#core/record/checkpoint.ts';
import { isRefusal } from '#core/operation.ts';
import { Progress } from '../../../sidecar/spool/progress.ts';
import { Shipment } from '../../../sidecar/spool/shipment.ts';
import { StreamWalk } from '../../../sidecar/spool/stream-walk.ts';
import { openLiveSpool, type LiveSpool } from '../../support/live-spool.ts';
import { startPeerCollector, type PeerCollector } from '../../support/peer-collector.ts';
import { openSession, openSpool } from '../../support/sidecar-session.ts';
import { checkStream } from '../../support/stream-check.ts';
import { until } from '../../support/until.ts';

/** Why a volume cannot be mounted here, or false. */
function unmountable(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'mounting a tmpfs takes root on Linux';
  try {
    mountVolume(1)[Symbol.dispose]();
    return false;
  } catch {
    return 'this root may not mount a tmpfs';
  }
}

/** A volume of its own, of a few megabytes. */
interface Volume extends Disposable {
  readonly directory: string;
  /** Fills it to the last byte, as others on the same volume can. */
  fill(): void;
}

function mountVolume(megabytes: number): Volume {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-volume-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', directory]);
  return {
    directory,
    fill: () => {
      const fd = openSync(join(directory, 'others'), 'a');
      const piece = Buffer.alloc(4096);
      try {
        for (;;) writeSync(fd, piece);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
      }
      closeSync(fd);
      assert.equal(statfsSync(directory).bavail, 0);
    },
    [Symbol.dispose]: () => {
      execFileSync('umount', ['--lazy', directory]);
      rmSync(directory, { recursive: true });
    },
  };
}

/** Does requests until one is refused. Returns how many were not. */
async function useUp(session: ReturnType<typeof openSession>): Promise<number> {
  for (let done = 0; ; done += 1) if (!(await ask(session))) return done;
}

async function ask(session: ReturnType<typeof openSession>): Promise<boolean> {
  const permit = session.admit({
    kind: 'request',
    facts: { protocol: 'Postgres', statements: [] },
    content: { type: 'postgres.query', bytes: Buffer.alloc(10_000, 'q') },
  });
  assert.ok(!isRefusal(permit));
  const stop = await permit.recorded;
  permit.finish({ status: stop ? 'incomplete' : 'ok' });
  return !stop;
}

const opened = (volume: Volume, peer: PeerCollector): Promise<LiveSpool> =>
  openLiveSpool({ directory: volume.directory, collector: peer, maxBytes: 1024 ** 3 });

describe('a small volume', { skip: unmountable() }, () => {
  test('is filled to four fifths; what runs still ends, and room is used again as it comes', async () => {
    using volume = mountVolume(8);
    await using peer = await startPeerCollector();
    peer.intercept = () => ({ status: 503, body: {} });
    const live = await opened(volume, peer);
    const { writer } = live.spool;
    const session = openSession(writer);
    const running = session.admit({
      kind: 'request',
      facts: { protocol: 'Postgres', statements: [] },
    });
    assert.ok(!isRefusal(running));
    const done = await useUp(session);
    assert.ok(done > 500, `${done} requests`);
    const { bavail, blocks } = statfsSync(volume.directory);
    assert.ok(bavail > blocks * 0.1, 'there is room left');
    const before = writer.totalBytes;
    running.finish({ status: 'ok' });
    await until('its end is written', () => writer.totalBytes > before);
    assert.ok(!(await ask(session)));
    peer.intercept = undefined;
    await until('it takes more', () => ask(session));
    session.end('agent-closed');
    await live.spool.close(20_000);
    const { results, ended, sessions } = checkStream(peer.framesOf(writer.stream));
    assert.equal(ended, 'stopped');
    // The last one that went up was answered when there was no room left, so that its answer was withheld.
    const count = (wanted: string) => [...results.values()].filter((status) => status === wanted);
    assert.deepEqual([count('ok').length, count('incomplete').length], [done + 1, 1]);
    assert.deepEqual([...sessions.values()], ['agent-closed']);
  });

  test('that others fill to the last byte stops everything, and everything goes on once records are shipped', async () => {
    using volume = mountVolume(8);
    await using peer = await startPeerCollector();
    peer.intercept = () => ({ status: 503, body: {} });
    const live = await opened(volume, peer);
    const { writer } = live.spool;
    const session = openSession(writer);
    for (let n = 0; n < 200; n += 1) assert.ok(await ask(session));
    volume.fill();
    await useUp(session);
    assert.ok(live.spool.trouble);
    const [segment = ''] = readdirSync(join(volume.directory, writer.stream));
    peer.intercept = undefined;
    await until('it takes more', () => ask(session));
    assert.ok(!readdirSync(join(volume.directory, writer.stream)).includes(segment));
    session.end('agent-closed');
    await live.spool.close(20_000);
    assert.equal(checkStream(peer.framesOf(writer.stream)).ended, 'stopped');
  });

  test('that is full when it closes loses no record that it took, and the next start ends what was left open', async () => {
    using volume = mountVolume(8);
    await using peer = await startPeerCollector();
    peer.intercept = () => ({ status: 503, body: {} });
    const live = await opened(volume, peer);
    const { writer } = live.spool;
    const session = openSession(writer);
    const running = session.admit({
      kind: 'request',
      facts: { protocol: 'Postgres', statements: [] },
    });
    assert.ok(!isRefusal(running));
    for (let n = 0; n < 50; n += 1) assert.ok(await ask(session));
    await writer.turn();
    volume.fill();
    const done = 50 + (await useUp(session));
    await live.spool.close(100);
    assert.ok(live.log.some(({ msg }) => msg.startsWith('records were lost')));
    peer.intercept = undefined;
    const next = await opened(volume, peer); // the disk is as full as it was
    await until('what was left is shipped', () => peer.framesOf(writer.stream).at(-1)?.header.kind === 'stream.end'); // prettier-ignore
    const { results, ended, head } = checkStream(peer.framesOf(writer.stream));
    assert.equal(ended, 'recovered');
    const statuses = [...results.values()];
    assert.equal(statuses.filter((status) => status === 'ok').length, done);
    assert.ok(statuses.includes('unknown') && !statuses.includes(undefined));
    await until('it can be written', () => next.spool.trouble === undefined);
    await next.spool.close(20_000);
    assert.deepEqual(checkStream(peer.framesOf(next.spool.writer.stream)).previous, head);
  });
});

const linux = process.platform === 'linux' ? false : 'prlimit is of Linux';

test('a checkpoint that could be completed in part only is completed at the next try', { skip: linux }, async () => {
  using spool = openSpool();
  const keys = generateKeyPairSync('ed25519');
  const { writer } = spool;
  const publicKey = publicKeyHex(keys.publicKey);
  writer.append({
    ending: true,
    seal: () => ({
      fields: {
        kind: 'stream.start',
        'service.version': '0',
        'k8s.pod.name': 'p',
        'k8s.namespace.name': 'n',
        'service.account': 's',
        publicKey,
      },
    }),
  });
  writer.append({
    ending: true,
    seal: () => ({ fields: { kind: 'stream.end', reason: 'stopped' } }),
  });
  await writer.turn();
  const [start, end, checkpoint] = spool.frames();
  assert.equal(checkpoint?.header.kind, 'checkpoint');
  const at = (start?.length ?? 0) + (end?.length ?? 0);
  const progress = new Progress();
  progress.written = 3;
  const shipment = new Shipment(writer.stream);
  const walk = new StreamWalk({
    directory: spool.directory,
    progress,
    key: keys.privateKey,
    shipment,
  });
  for (const limit of [at, at + 20, at + 100, at + 200]) {
    limitFiles(limit);
    try {
      assert.throws(() => walk.walk());
      assert.throws(() => walk.walk());
    } finally {
      limitFiles('unlimited');
    }
    assert.equal(shipment.lastSeq, 2, 'nothing of it is shipped');
  }
  assert.equal(walk.walk(), false);
  assert.equal(shipment.lastSeq, 3);
  const check = checkStream(spool.frames());
  assert.equal(check.signedSeq, 2);
  assert.equal(shipment.linkAt(3), check.head.link);
}); // prettier-ignore

/** Limits how long a file of this process may become. */
function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', [`--pid=${process.pid}`, `--fsize=${bytes}:unlimited`]);
}

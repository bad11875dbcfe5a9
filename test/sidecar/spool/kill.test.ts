import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startPeerCollector, type PeerCollector } from '../../support/peer-collector.ts';
import { Random, scaled } from '../../support/random.ts';
import { checkStream, type StreamCheck } from '../../support/stream-check.ts';
import { until } from '../../support/until.ts';

interface Running {
  readonly child: ChildProcess;
  readonly closed: Promise<unknown>;
  /** What it has recorded so far, and `open` once it had recovered what was there. */
  marks(): string[];
}

function startSpoolProcess(directory: string, peer: PeerCollector, seed: number): Running {
  const program = join(import.meta.dirname, '../../support/spool-process.ts');
  const file = `${directory}.marks.${seed}`;
  const child = spawn(
    process.execPath,
    [program, directory, peer.url, peer.ca, String(seed), file],
    { stdio: ['pipe', 'inherit', 'inherit'] },
  );
  return {
    child,
    closed: once(child, 'close'),
    marks: () => {
      if (child.exitCode !== null && child.exitCode > 0) throw new Error('it failed');
      return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    },
  };
}

/** Every stream that the collector has, oldest first, each held against the format. */
function checkAll(peer: PeerCollector): StreamCheck[] {
  return [...peer.streams.keys()].sort().map((stream) => checkStream(peer.framesOf(stream)));
}

/** Whether the newest stream has records, and not its first ones. */
function hasDeleted(directory: string): boolean {
  if (!existsSync(directory)) return false;
  const newest = readdirSync(directory).filter((name) => name !== 'ballast').sort().at(-1) ?? ''; // prettier-ignore
  const [first] = readdirSync(join(directory, newest)).sort();
  return first !== undefined && first.endsWith('.frames') && !/^0+1\./.test(first);
}

function marksIn(peer: PeerCollector): Set<string> {
  const found = new Set<string>();
  for (const stream of peer.streams.keys())
    for (const { payload } of peer.framesOf(stream))
      for (const [mark] of payload
        .subarray(0, 100)
        .toString()
        .matchAll(/^mark_\d+_/g))
        found.add(mark);
  return found;
}

test('kill -9 at any moment, also during recovery: nothing is lost, everything has an end, and each stream names the one before', async () => {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-kill-'));
  const directory = join(home, 'spool');
  await using peer = await startPeerCollector();
  const random = new Random(7);
  const marks = new Set<string>();
  await using stack = new AsyncDisposableStack();
  let away = false;
  peer.intercept = () => (away ? { status: 503, body: {} } : undefined);
  const kills = scaled(100);
  for (let kill = 0; kill < kills; kill += 1) {
    away = !away && random.below(2) === 0; // so that several streams are left at times
    const running = startSpoolProcess(directory, peer, kill + 1);
    stack.defer(() => void running.child.kill('SIGKILL'));
    // A third dies while it starts: before, in or after its recovery.
    // Away from its collector it may find the spool full, and then does nothing.
    if (!away && random.below(3) > 0) await until('it works', () => running.marks().length > 20);
    else if (random.below(2) > 0) await until('it is open', () => running.marks().length > 0);
    if (!away && kill % 3 === 0)
      await until('it has deleted what it began with', () => hasDeleted(directory));
    await delay(random.below(300));
    running.child.kill('SIGKILL');
    await running.closed;
    for (const mark of running.marks()) marks.add(mark);
  }
  away = false;
  const last = startSpoolProcess(directory, peer, kills + 1);
  stack.defer(() => void last.child.kill('SIGKILL'));
  await until('it works', () => last.marks().length > 20);
  last.child.stdin?.end();
  await last.closed;
  assert.equal(last.child.exitCode, 0);
  for (const mark of last.marks()) marks.add(mark);
  marks.delete('open');

  const found = marksIn(peer);
  assert.deepEqual([...marks].filter((mark) => !found.has(mark)), []); // prettier-ignore
  const checks = checkAll(peer);
  assert.deepEqual(
    checks.map(({ ended }) => ended),
    checks.map((_, index) => (index === checks.length - 1 ? 'stopped' : 'recovered')),
  );
  for (const [index, { previous, results, sessions }] of checks.entries()) {
    assert.deepEqual(previous, checks[index - 1]?.head);
    for (const [request, status] of results) assert.ok(status, `request ${request} has a result`);
    for (const [session, reason] of sessions) assert.ok(reason, `session ${session} has an end`);
  }
  assert.ok(checks.some(({ results }) => [...results.values()].includes('unknown')));
  assert.ok(checks.some(({ sessions }) => [...sessions.values()].includes('sidecar-killed')));
  // What a stopped stream has is signed to its end, and of the others nothing is left but the last one's head.
  assert.equal(checks.at(-1)?.signedSeq, (checks.at(-1)?.head.seq ?? 0) - 1);
  assert.deepEqual(readdirSync(directory).sort(), [checks.at(-1)?.head.stream, 'ballast']);
  assert.equal([...peer.streams.values()].flatMap(({ quarantined }) => quarantined).length, 0);
  rmSync(home, { recursive: true });
});

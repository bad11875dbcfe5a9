import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { followBundles } from '../../sidecar/bundle-source.ts';
import type { SidecarConfig } from '../../sidecar/config.ts';
import { Credentials } from '../../sidecar/credentials.ts';
import { idleMetrics } from '../support/idle-metrics.ts';
import { bundleLine, startPeerController, type PeerController } from '../support/peer-controller.ts'; // prettier-ignore

const holdMs = 24 * 3_600_000;
const kill = '{"type":"kill","session":"0199f0aa-0000-7000"}\n';

/** What a sidecar that follows a peer has done, in order. */
interface Followed extends Disposable {
  readonly done: ('apply' | 'kill' | 'lapse')[];
  readonly log: { readonly level: number; readonly msg: string }[];
}

function follow({ url, ca }: PeerController): Followed {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-source-'));
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, 'token\n');
  const stopping = new AbortController();
  const done: Followed['done'] = [];
  const log: Followed['log'] = [];
  const config: Partial<SidecarConfig> = {
    source: {
      kind: 'controller',
      url,
      addresses: ['127.0.0.1'],
      ca,
      tokenFile,
      memoryDirectory: directory,
      trustDirectory: directory,
    },
    spoolDirectory: directory,
  };
  followBundles({
    config: config as SidecarConfig, // all that it asks for here
    host: {
      apply: () => void done.push('apply'),
      kill: () => {
        done.push('kill');
        return [];
      },
      lapse: () => void done.push('lapse'),
    },
    credentials: new Credentials({}),
    surroundings: undefined,
    spool: { trust: () => undefined },
    onApplied: () => undefined,
    report: () => undefined,
    metrics: idleMetrics(),
    log: pino({}, { write: (line) => void log.push(JSON.parse(line) as Followed['log'][number]) }),
    signal: stopping.signal,
  });
  const dispose = (): void => {
    stopping.abort();
    rmSync(directory, { recursive: true });
  };
  return { done, log, [Symbol.dispose]: dispose };
}

/** Lets time pass, and what follows from it happen, until something is so. */
async function passUntil(context: TestContext, isSo: () => boolean, stepMs = 0): Promise<void> {
  while (!isSo()) {
    context.mock.timers.tick(stepMs);
    await new Promise((resolve) => void setImmediate(resolve));
  }
}

describe('a bundle in force', { timeout: 30_000 }, () => {
  test('stays so for as long as the controller is heard, also where it sends no other', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await passUntil(t, () => followed.done.length === 1);
    peer.write(`{"type":"ping"}\n`);
    peer.end();
    await passUntil(t, () => peer.tokens.length === 2, 100);
    const orderly = followed.log.find(({ msg }) => /asked for a new stream/.test(msg));
    assert.equal(orderly?.level, pino.levels.values['info']);
    peer.write(kill);
    await passUntil(t, () => followed.done.includes('kill'));
    t.mock.timers.tick(holdMs);
    assert.deepEqual(followed.done, ['apply', 'kill']);
  });

  test('lapses once after a day without the controller, and holds again with the next', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await passUntil(t, () => followed.done.length === 1);
    peer.status = 503;
    peer.end();
    const isLost = ({ msg }: Followed['log'][number]): boolean => /not followed now/.test(msg);
    await passUntil(t, () => followed.log.some(isLost), 100);
    t.mock.timers.tick(holdMs);
    assert.deepEqual(followed.done, ['apply', 'lapse']);
    peer.status = 200;
    peer.write(bundleLine(peer, { revision: 'two' }));
    await passUntil(t, () => followed.done.length > 2, 1_000);
    assert.deepEqual(followed.done, ['apply', 'lapse', 'apply']);
  });
});

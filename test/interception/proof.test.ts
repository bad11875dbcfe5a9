import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { nftTable } from '#core/interception/nft-rules.ts';
import { bundle } from '../../tools/bundle.ts';
import { agentUid, withoutNamespaces, type PodNetwork } from '../support/pod-network.ts';
import { startPodSidecar } from '../support/pod-sidecar.ts';
import { startPodWorld } from '../support/pod-world.ts';

describe('the proof of the interception', { skip: withoutNamespaces }, () => {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-proof-'));
  let program: string;

  before(async () => {
    chmodSync(home, 0o755);
    program = await bundle('sidecar/network/main.ts', home);
  });
  after(() => rmSync(home, { recursive: true }));

  /** Runs it as an agent; Node is started by root, who can read it wherever it lies. */
  const prove = (network: PodNetwork): { readonly code: number | null; readonly said: string } => {
    const become = `data:text/javascript,process.setgid(${agentUid});process.setuid(${agentUid})`;
    const [command, ...enter] = network.at('root in the pod');
    const args = [...enter, process.execPath, '--import', become, program];
    const { status, stdout, stderr } = spawnSync(command, args, {
      encoding: 'utf8',
      timeout: 60_000,
    });
    return { code: status, said: stdout + stderr };
  };

  test('succeeds where the rules lead to the sidecar, and it is ready', async () => {
    await using world = await startPodWorld();
    world.network.applyRules();
    await using _ = await startPodSidecar(world.network, []);
    assert.deepEqual(prove(world.network), {
      code: 0,
      said: 'connections are led to the sidecar\n',
    });
  });

  test('succeeds in a pod without IPv6', async () => {
    await using world = await startPodWorld();
    const { network } = world;
    network.run('root in the pod', 'sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6');
    network.applyRules();
    await using _ = await startPodSidecar(network, []);
    assert.equal(prove(network).code, 0);
  });

  test('fails where there are no rules, and says where to look', async () => {
    await using world = await startPodWorld();
    await using _ = await startPodSidecar(world.network, []);
    const { code, said } = prove(world.network);
    assert.equal(code, 1);
    assert.match(said, /not led to the sidecar \(192\.0\.2\.72: .*look at the log of chaperone/);
  });

  test('fails where the rules are of IPv4 alone', async () => {
    await using world = await startPodWorld();
    const { network } = world;
    network.applyRules();
    network.run('root in the pod', 'nft', 'insert', 'rule', 'inet', nftTable, 'diverted', 'meta', 'nfproto', 'ipv6', 'return'); // prettier-ignore
    await using _ = await startPodSidecar(network, []);
    const { code, said } = prove(network);
    assert.equal(code, 1);
    assert.match(said, /2001:db8::48/);
  });
});

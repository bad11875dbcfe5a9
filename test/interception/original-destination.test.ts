import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectDirectory } from '../../cli/instance.ts';
import { addresses, makePodNetwork, ports, withoutNamespaces } from '../support/pod-network.ts';

test('a redirected connection says where it was going, and one to the listener itself does not', { skip: withoutNamespaces }, async () => {
  using network = makePodNetwork();
  network.applyRules();
  const program = join(projectDirectory, 'test/interception/redirected.ts');
  const [command, ...enter] = network.at('root in the pod');
  const listener = spawn(command, [...enter, process.execPath, program, String(ports.proxyPort)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(listener.stdout, 'data');
    for (const host of [addresses.outside.v4, addresses.outside.v6, '192.0.2.7', '2001:db8::7'])
      for (const port of [80, 65_535])
        assert.equal(await network.try('agent', 'tcp', [host, port]), `${host} ${port}`);
    for (const host of ['127.0.0.1', '::1'])
      assert.equal(await network.try('agent', 'tcp', [host, ports.proxyPort]), 'nowhere 0');
  } finally {
    listener.kill('SIGKILL');
    await once(listener, 'close');
  }
}); // prettier-ignore

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import {
  decodeSocketAddress,
  loadOriginalDestination,
} from '../../../sidecar/interception/original-destination.ts';

const v6 = (hex: string): Buffer => Buffer.from(`0a000050${'00'.repeat(4)}${hex}${'00'.repeat(4)}`, 'hex'); // prettier-ignore

describe('an address as the kernel writes it', () => {
  const cases: [Buffer, string, number][] = [
    [Buffer.from('020001bbc000020a0000000000000000', 'hex'), '192.0.2.10', 443],
    [v6('20010db8000000000000000000000001'), '2001:db8::1', 80],
    [v6('00000000000000000000ffffc0000201'), '::ffff:192.0.2.1', 80],
    [v6('fd100099000000010000000000000000'), 'fd10:99:0:1::', 80],
  ];
  for (const [bytes, host, port] of cases)
    test(`is ${host}, port ${port}`, () => {
      assert.deepEqual(decodeSocketAddress(bytes), { host, port });
    });

  test('is nothing when it is too short or of another family', () => {
    assert.equal(decodeSocketAddress(Buffer.alloc(0)), undefined);
    assert.equal(decodeSocketAddress(Buffer.alloc(28)), undefined);
    assert.equal(decodeSocketAddress(Buffer.from('02000050', 'hex')), undefined);
    assert.equal(decodeSocketAddress(v6('20010db8000000000000000000000001').subarray(0, 20)), undefined); // prettier-ignore
  });
});

describe('a connection that nothing has redirected', { skip: process.platform === 'linux' ? false : 'the call is of Linux' }, () => {
  for (const host of ['127.0.0.1', '::1'])
    test(`has no original destination, over ${host}`, async () => {
      const destinationOf = await loadOriginalDestination();
      const server = createServer().listen(0, host);
      await once(server, 'listening');
      const client = connect((server.address() as AddressInfo).port, host); // a TCP server's address is one
      const [accepted] = (await once(server, 'connection')) as [Socket];
      assert.equal(destinationOf(accepted), undefined);
      accepted.destroy();
      await new Promise((closed) => accepted.once('close', closed));
      assert.equal(destinationOf(accepted), undefined);
      client.destroy();
      server.close();
    });
}); // prettier-ignore

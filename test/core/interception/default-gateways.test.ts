import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readGatewaysV4, readGatewaysV6 } from '#core/interception/default-gateways.ts';

const v4 = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t00000000\tFE00000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\tFE00000A\t0003\t0\t0\t200\t00000000\t0\t0\t0
eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000A8C0\t0201F40A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
eth2\t00000000\t0301F40A\t0002\t0\t0\t0\t00000000\t0\t0\t0
`;

const none = '0'.repeat(32);
const v6 = `fd100099000000000000000000000000 40 ${none} 00 ${none} 00000100 00000001 00000000 00000001     eth0
${none} 00 ${none} 00 fd1000990000000000000000000000fe 00000400 00000001 00000000 00000003     eth0
fd200000000000000000000000000000 20 ${none} 00 fd100099000000000000000000000002 00000400 00000001 00000000 00000003     eth0
${none} 00 ${none} 00 ${none} ffffffff 00000001 00000000 00200200       lo
`;

describe('gateways of default routes', () => {
  test('are read from the table of IPv4, once each, and no others', () => {
    assert.deepEqual(readGatewaysV4(v4), ['10.244.1.1', '10.0.0.254']);
  });

  test('are read from the table of IPv6, where a route that rejects is none', () => {
    assert.deepEqual(readGatewaysV6(v6), ['fd10:0099:0000:0000:0000:0000:0000:00fe']);
  });

  test('are none where there is no table, or something else', () => {
    for (const text of ['', '\n', 'eth0 00000000', `eth0 00000000 010203 0003 0 0 0 00000000`])
      assert.deepEqual([...readGatewaysV4(text), ...readGatewaysV6(text)], []);
    assert.deepEqual(readGatewaysV6(`${none} 00 ${none} 00 fd10 0 0 0 00000003 eth0`), []);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RefusedPackets } from '../../../sidecar/interception/refused-packets.ts';

const snmp = (unreachable: number, noPorts: number): string =>
  `Ip: Forwarding DefaultTTL
Ip: 1 64
Icmp: InMsgs InDestUnreachs OutMsgs OutDestUnreachs OutEchos
Icmp: 9 9 9 ${unreachable} 3
IcmpMsg: InType3 OutType3
IcmpMsg: 9 9
Udp: InDatagrams NoPorts InErrors
Udp: 5 ${noPorts} 1
UdpLite: InDatagrams NoPorts InErrors
UdpLite: 7 7 7
`;
const snmp6 = (unreachable: number, noPorts: number): string =>
  `Ip6InReceives                   \t40
Icmp6OutDestUnreachs            \t${unreachable}
Icmp6OutType1                   \t77
Udp6NoPorts                     \t${noPorts}
`;

/** The total after each reading of the counters. */
function totals(...readings: readonly (readonly [snmp: string, snmp6: string])[]): number[] {
  let now = readings[0] ?? assert.fail();
  const refused = new RefusedPackets(() => ({ snmp: now[0], snmp6: now[1] }));
  return readings.map((reading) => {
    now = reading;
    return refused.total;
  });
}
/** The same of IPv4, from its two counters. */
const totalsOfV4 = (...readings: readonly (readonly [number, number])[]): number[] =>
  totals(...readings.map(([unreachable, noPorts]) => [snmp(unreachable, noPorts), snmp6(0, 0)] as const)); // prettier-ignore

describe('what the rules have refused', () => {
  test('is what was unreachable but for closed ports of the pod itself', () => {
    for (const [v4, v6, refused] of [
      [snmp(0, 0), snmp6(0, 0), 0],
      [snmp(7, 0), snmp6(0, 0), 7],
      [snmp(7, 2), snmp6(3, 1), 7],
      [snmp(2, 5), snmp6(3, 0), 3],
      [snmp(3, 0), snmp6(2, 5), 3],
      [snmp(4, 0), '', 4],
      ['', '', 0],
      ['Icmp: OutDestUnreachs\n', 'Icmp6OutDestUnreachs', 0],
    ] as const)
      assert.deepEqual(totals([v4, v6]), [refused]);
  });

  test('is added up, and never falls', () => {
    assert.deepEqual(totalsOfV4([3, 0], [3, 0], [5, 1], [4, 1]), [3, 3, 4, 4]);
    assert.deepEqual(totals([snmp(1, 0), snmp6(2, 0)], [snmp(3, 0), snmp6(2, 0)]), [3, 5]);
  });

  test('does not count what a closed port was counted for one reading earlier', () => {
    assert.deepEqual(totalsOfV4([0, 1], [1, 1], [2, 1]), [0, 0, 1]);
  });

  test('cannot be hidden by what was sent to closed ports beforehand', () => {
    assert.deepEqual(totalsOfV4([0, 900], [0, 900], [5, 900]), [0, 0, 5]);
  });

  test('is told once, and again when nobody has heard it', () => {
    let unreachable = 0;
    const refused = new RefusedPackets(() => ({ snmp: snmp(unreachable, 0), snmp6: '' }));
    assert.equal(refused.takeNew(), undefined);
    unreachable = 2;
    assert.deepEqual([refused.takeNew(), refused.takeNew()], [2, undefined]);
    refused.tellAgain();
    assert.deepEqual([refused.takeNew(), refused.takeNew()], [2, undefined]);
    unreachable = 3;
    assert.equal(refused.takeNew(), 3);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countRefused } from '../../../sidecar/interception/refused-packets.ts';

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

test('what the rules have refused is what was unreachable but for closed ports of the pod itself', () => {
  for (const [v4, v6, refused] of [
    [snmp(0, 0), snmp6(0, 0), 0],
    [snmp(7, 0), snmp6(0, 0), 7],
    [snmp(7, 2), snmp6(3, 1), 7],
    [snmp(2, 5), snmp6(3, 0), 3],
    [snmp(3, 0), snmp6(2, 5), 3],
  ] as const)
    assert.equal(countRefused({ snmp: v4, snmp6: v6 }), refused);
  assert.equal(countRefused({ snmp: snmp(4, 0), snmp6: '' }), 4);
  assert.equal(countRefused({ snmp: '', snmp6: '' }), 0);
  assert.equal(countRefused({ snmp: 'Icmp: OutDestUnreachs\n', snmp6: 'Icmp6OutDestUnreachs' }), 0);
});

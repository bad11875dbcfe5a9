import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildNftRules, nftArguments } from '#core/interception/nft-rules.ts';

const pod = { uid: 1_234_567_890, openPorts: [] };

describe('the rules of a pod', () => {
  const rules = buildNftRules({ proxyPort: 15_001, dnsPort: 15_053 });

  test('hold for IPv4 and IPv6 alike, and never go by a group', () => {
    assert.deepEqual(
      new Set(rules.match(/^(?:flush )?table .*$/gm)),
      new Set(['table inet chaperone {', 'flush table inet chaperone']),
    );
    assert.doesNotMatch(rules, /skgid/);
  });

  test('drop what no rule of a filter accepts', () => {
    const policies = Array.from(rules.matchAll(/type filter hook (\w+) priority filter; policy (\w+);/g), ([, hook, policy]) => [hook, policy]); // prettier-ignore
    assert.deepEqual(policies, [['output', 'drop'], ['input', 'drop'], ['forward', 'drop']]); // prettier-ignore
  });

  test('lead DNS elsewhere than the rest', () => {
    assert.match(rules, /dport 53 redirect to :15053\n\s+meta l4proto tcp redirect to :15001\n/);
  });

  for (const port of [0, 65_536, 1.5, Number.NaN])
    test(`are not written for port ${port}`, () => {
      assert.throws(() => buildNftRules({ proxyPort: port, dnsPort: 1 }), RangeError);
      assert.throws(() => buildNftRules({ proxyPort: 1, dnsPort: port }), RangeError);
      assert.throws(() => nftArguments({ ...pod, openPorts: [port] }, 'f'), RangeError);
      assert.throws(() => nftArguments({ ...pod, openPorts: [80, port] }, 'f'), RangeError);
    });
});

describe('the arguments of nft', () => {
  test('name the uid, the ports that are open, each once, and the file', () => {
    assert.deepEqual(
      nftArguments({ uid: 1_000_000_000, openPorts: [9_090, 80, 80, 443] }, '/rules'),
      ['-D', 'uid=1000000000', '-D', 'open={ 80, 443, 9090 }', '-f', '/rules'],
    ); // prettier-ignore
  });

  for (const uid of [0, -1, 1.5, 0xffff_ffff, Number.NaN])
    test(`are not given for uid ${uid}`, () => {
      assert.throws(() => nftArguments({ ...pod, uid }, 'f'), RangeError);
    });

  test('are not given for more ports than a pod can mean', () => {
    const openPorts = Array.from({ length: 257 }, (_, index) => index + 1);
    assert.throws(() => nftArguments({ ...pod, openPorts }, 'f'), RangeError);
  });
});

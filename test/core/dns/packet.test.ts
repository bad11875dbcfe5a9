import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decode, encode, type Packet } from 'dns-packet';
import { buildAnswer, readQuery, type DnsQuery } from '#core/dns/packet.ts';
import { Random, scaled } from '../../support/random.ts';

function asked(name: string, more: Partial<Packet> = {}, type = 'A'): Buffer {
  const questions = [{ name, type: type as 'A', class: 'IN' as const }];
  return encode({ type: 'query', id: 7, flags: 0x100, questions, ...more });
}

function queryOf(bytes: Buffer): DnsQuery {
  const read = readQuery(bytes);
  assert.equal(read?.kind, 'query');
  return read.query;
}

function codeOf(bytes: Buffer): string | undefined {
  const read = readQuery(bytes);
  if (read?.kind !== 'fault') return read?.kind;
  const { id, type, rcode } = decode(read.answer) as ReturnType<typeof decode> & { rcode: string };
  assert.equal(id, bytes.readUInt16BE(0));
  assert.equal(type, 'response');
  return rcode;
}

function patched(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(value, at);
  return copy;
}

const opt = { type: 'OPT', name: '.', udpPayloadSize: 4_096, flags: 0, options: [] } as unknown as NonNullable<Packet['additionals']>[number]; // prettier-ignore

describe('a query', () => {
  test('is read with its name in lower case, and as it was spelled', () => {
    const query = queryOf(asked('Orders-DB.Example.com.'));
    assert.deepEqual(query, {
      id: 7,
      spelled: 'Orders-DB.Example.com',
      name: 'orders-db.example.com',
      type: 'A',
      recursionDesired: true,
      maxBytes: 512,
      extended: false,
    });
  });

  test('says how long an answer may be, within what a network carries', () => {
    assert.equal(queryOf(asked('a', { additionals: [opt] })).maxBytes, 1_232);
    assert.equal(queryOf(asked('a', { additionals: [{ ...opt, udpPayloadSize: 3 } as typeof opt] })).maxBytes, 512); // prettier-ignore
  });

  test('of a type without a mnemonic is answered for that type', () => {
    for (const number of [65, 64, 1_234]) {
      const query = queryOf(patched(asked('a.b'), 12 + 5, number));
      const answer = buildAnswer(query, { code: 'NOERROR', records: [] }, 512);
      assert.equal(answer.readUInt16BE(12 + 5), number);
      assert.equal(decode(answer).authorities?.[0]?.type, 'SOA');
    }
  });

  const cases: [string, Buffer, string | undefined][] = [
    ['nothing', Buffer.alloc(0), undefined],
    ['less than a header', asked('a').subarray(0, 11), undefined],
    ['an answer', patched(asked('a'), 2, 0x8100), undefined],
    ['an update', patched(asked('a'), 2, 0x2800), 'NOTIMP'],
    ['no question', asked('a', { questions: [] }), 'FORMERR'],
    ['two questions', asked('', { questions: [{ name: 'a', type: 'A' }, { name: 'b', type: 'A' }] }), 'FORMERR'],
    ['a claim of answers', patched(asked('a'), 6, 0xffff), 'FORMERR'],
    ['a question that is cut off', asked('a.example').subarray(0, 16), 'FORMERR'],
    ['a name that points to itself', Buffer.concat([asked('a').subarray(0, 12), Buffer.from('c00c00010001', 'hex')]), 'FORMERR'],
    ['another class', patched(asked('a'), 12 + 5, 3), 'REFUSED'],
    ['a label with a dot in it', Buffer.concat([asked('a').subarray(0, 12), Buffer.from('03612e620000010001', 'hex')]), 'NXDOMAIN'],
    ['a label with a NUL in it', Buffer.concat([asked('a').subarray(0, 12), Buffer.from('026100 0000010001'.replace(' ', ''), 'hex')]), 'NXDOMAIN'],
    ['a name of 300 characters', asked(Array.from({ length: 6 }, () => 'x'.repeat(49)).join('.')), 'FORMERR'],
    ['more bytes than a query has', Buffer.concat([asked('a'), Buffer.alloc(2_000)]), 'FORMERR'],
    ['something beside OPT', asked('a', { additionals: [{ type: 'A', name: 'a', data: '192.0.2.1' }] }), 'FORMERR'],
  ]; // prettier-ignore
  for (const [what, bytes, code] of cases)
    test(`that is ${what} is answered with ${code ?? 'nothing'}`, () => {
      assert.equal(codeOf(bytes), code);
    });

  test('never throws, whatever the bytes', () => {
    const random = new Random(53);
    for (let index = 0; index < scaled(100_000); index += 1) {
      const bytes = random.below(2) === 0 ? random.bytes(random.below(80)) : asked('a.example.com', { additionals: [opt] });
      const at = random.below(Math.max(1, bytes.length));
      if (bytes.length > 0) bytes.writeUInt8(random.below(256), at);
      const read = readQuery(bytes);
      if (read?.kind === 'query') decode(buildAnswer(read.query, { code: 'NXDOMAIN', records: [] }, 512));
    }
  }); // prettier-ignore
});

describe('an answer', () => {
  const query = queryOf(asked('Db.example', { additionals: [opt] }));
  const addresses = Array.from({ length: 40 }, (_, index) => ({ type: 'A' as const, ttl: 9, data: `192.0.2.${index}` })); // prettier-ignore

  test('has its records under the name as it was spelled', () => {
    const packet = decode(buildAnswer(query, { code: 'NOERROR', records: addresses.slice(0, 2) }, 512)); // prettier-ignore
    assert.deepEqual(
      packet.answers?.map((each) => [each.name, each.type, 'data' in each && each.data]),
      [['Db.example', 'A', '192.0.2.0'], ['Db.example', 'A', '192.0.2.1']],
    ); // prettier-ignore
    assert.equal(packet.additionals?.[0]?.type, 'OPT');
    assert.deepEqual(packet.authorities, []);
  });

  test('that is too long for a datagram says so, has what there is room for, and is whole over TCP', () => {
    const answer = { code: 'NOERROR', records: addresses } as const;
    for (const maxBytes of [512, 513, 530, 1_232]) {
      const bytes = buildAnswer(query, answer, maxBytes);
      const short = decode(bytes);
      assert.equal(short.flag_tc, maxBytes < 1_232);
      assert.ok(bytes.length <= maxBytes && (bytes.length > maxBytes - 26 || !short.flag_tc));
      assert.deepEqual(short.answers?.map((each) => 'data' in each && each.data), addresses.slice(0, short.answers?.length).map(({ data }) => data)); // prettier-ignore
    }
    const whole = decode(buildAnswer(query, answer, 65_535));
    assert.equal(whole.flag_tc, false);
    assert.equal(whole.answers?.length, 40);
  });

  test('of which not one record has room has none', () => {
    const record = { type: 'TXT', ttl: 9, data: ['x'.repeat(250), 'y'.repeat(250), 'z'] } as const;
    const short = decode(buildAnswer(query, { code: 'NOERROR', records: [record] }, 512));
    assert.equal(short.flag_tc, true);
    assert.deepEqual(short.answers, []);
  });

  test('without records has an SOA, and NXDOMAIN is told from an empty one', () => {
    for (const code of ['NXDOMAIN', 'NOERROR'] as const) {
      const packet = decode(buildAnswer(query, { code, records: [] }, 512)) as ReturnType<typeof decode> & { rcode: string }; // prettier-ignore
      assert.equal(packet.rcode, code);
      assert.equal(packet.authorities?.[0]?.type, 'SOA');
    }
  });
});

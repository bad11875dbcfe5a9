import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { decode, encode, streamEncode } from 'dns-packet';
import { startDnsServer, type DnsServer } from '../../../sidecar/dns/server.ts';
import { findFreePort } from '../../../cli/dev/free-port.ts';

const query = (name: string, id = 1): Parameters<typeof encode>[0] => ({ type: 'query', id, questions: [{ name, type: 'A', class: 'IN' }] }); // prettier-ignore

describe('a DNS server', () => {
  let server: DnsServer;
  let port = 0;
  const errors: unknown[] = [];

  before(async () => {
    port = await findFreePort();
    server = await startDnsServer({
      port,
      onError: (error) => errors.push(error),
      answer: async ({ name }) => {
        if (name === 'defect') throw new Error('a defect');
        return {
          code: 'NOERROR',
          records: Array.from({ length: name === 'many' ? 100 : 1 }, (_, index) => ({ type: 'A', ttl: 1, data: `192.0.2.${index}` }) as const), // prettier-ignore
        };
      },
    });
  });

  after(() => server.close());

  async function askByDatagram(host: string, ...packets: readonly Buffer[]) {
    const socket = createSocket(host === '::1' ? 'udp6' : 'udp4');
    for (const packet of packets) socket.send(packet, port, host);
    const [answer] = (await once(socket, 'message')) as [Buffer];
    socket.close();
    return decode(answer);
  }

  async function askByStream(host: string, bytes: Buffer, count: number) {
    const socket = connect(port, host);
    const answers: ReturnType<typeof decode>[] = [];
    let received = Buffer.alloc(0);
    for (const byte of bytes) socket.write(Buffer.from([byte])); // in as many pieces as there can be
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk as Buffer]);
      while (received.length > 2 && received.length >= 2 + received.readUInt16BE(0)) {
        answers.push(decode(received.subarray(2, 2 + received.readUInt16BE(0))));
        received = received.subarray(2 + received.readUInt16BE(0));
      }
      if (answers.length === count) break;
    }
    return answers;
  }

  for (const host of ['127.0.0.1', '::1']) {
    test(`answers datagrams and streams, over ${host}`, async () => {
      assert.equal((await askByDatagram(host, encode(query('a')))).answers?.length, 1);
      const both = Buffer.concat([streamEncode(query('a', 1)), streamEncode(query('many', 2))]);
      const answers = await askByStream(host, both, 2);
      assert.deepEqual(answers.map(({ id, answers: found }) => [id, found?.length]), [[1, 1], [2, 100]]); // prettier-ignore
    });

    test(`says of what is too long for a datagram that it is, and what there is room for, over ${host}`, async () => {
      const answer = await askByDatagram(host, encode(query('many')));
      assert.equal(answer.flag_tc, true);
      assert.ok((answer.answers?.length ?? 0) > 0);
    });

    test(`goes on after what is no query, over ${host}`, async () => {
      const answer = await askByDatagram(host, Buffer.alloc(5), Buffer.alloc(0), encode({ ...query('a'), type: 'response' }), encode(query('a', 9))); // prettier-ignore
      assert.equal(answer.id, 9);
      assert.deepEqual(await askByStream(host, Buffer.concat([Buffer.from([0, 3]), Buffer.alloc(3)]), 1), []); // prettier-ignore
    });
  }

  test('says of what it cannot answer that it has failed, and goes on', async () => {
    const answer = (await askByDatagram('127.0.0.1', encode(query('defect')))) as {
      rcode?: string;
    };
    assert.equal(answer.rcode, 'SERVFAIL');
    assert.equal(errors.length, 1);
    assert.equal((await askByDatagram('127.0.0.1', encode(query('a')))).answers?.length, 1);
  });

  test('says which port it cannot have', async () => {
    await assert.rejects(
      startDnsServer({ port, answer: () => assert.fail('nobody asks'), onError: () => undefined }),
      { code: 'config-invalid', message: new RegExp(`port ${port}`) },
    ); // prettier-ignore
  });
});

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { statfsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildExecute, buildPassword, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { pssOf } from '../support/inspector.ts';
import { metricOf } from '../support/metrics.ts';
import { scaled } from '../support/random.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

const megabyte = 1024 * 1024;
const maxPssBytes = 200 * megabyte;
const cellBytes = scaled(1_000) * megabyte; // with its text form just below what PostgreSQL allows
const copyBytes = scaled(5_000) * megabyte;
const line = Buffer.from(`${'copy data '.repeat(10)}\n`);
const block = Buffer.concat(
  Array.from({ length: 64 }, () =>
    buildMessage('d', Buffer.concat(Array.from({ length: 160 }, () => line))),
  ),
);
const blockBytes = 64 * 160 * line.length;

describe('large values', () => {
  let server: BackendServer;
  let through: Through;
  before(async () => {
    const { bavail, bsize } = statfsSync(tmpdir());
    const needed = scaled(30);
    assert.ok(bavail * bsize > needed * 1024 ** 3, `these tests need ${needed} GB of free disk`);
    server = await startBackendServer({
      version: 18,
      settings: { max_wal_size: '512MB', wal_level: 'minimal', max_wal_senders: '0' },
    });
    through = await startThrough(server);
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function open(): Promise<Socket> {
    const socket = connect(through.port, through.host);
    await once(socket, 'connect');
    const parameters = new Map([['user', 'postgres'], ['database', 'postgres']]); // prettier-ignore
    socket.write(Buffer.concat([buildStartup(parameters), buildPassword(through.password)]));
    await drain(socket);
    return socket;
  }

  /** Reads up to the next ReadyForQuery, or to the message of a tag, and says how much of what came. */
  async function drain(
    socket: Socket,
    last = 'Z',
  ): Promise<{ bytes: number; hash: string; other: string }> {
    const hash = createHash('sha256');
    let bytes = 0;
    let other = '';
    const splitter = new FrameSplitter({
      streamed: new Set([0x44, 0x64]),
      maxMessageBytes: megabyte,
      oversized: 'throw',
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const take = (chunk: Buffer): void => {
      for (const piece of splitter.push(chunk)) {
        if (piece.kind === 'run') {
          bytes += piece.bytes.length;
          hash.update(piece.bytes);
        } else if (piece.kind === 'message') {
          const tag = String.fromCharCode(piece.tag);
          other += `${tag} ${'ZCE'.includes(tag) ? piece.body.toString('latin1') : ''} `;
          if (tag === last) resolve();
        }
      }
    };
    const closed = (): void => reject(new Error(`closed after ${other}`));
    socket.on('data', take).once('close', closed);
    await promise;
    socket.off('data', take).off('close', closed);
    return { bytes, hash: hash.digest('hex'), other };
  }

  async function write(socket: Socket, bytes: Buffer): Promise<void> {
    if (!socket.write(bytes)) await once(socket, 'drain');
  }

  /** Says the most memory that the sidecar held meanwhile. */
  async function watched<T>(work: Promise<T>): Promise<{ value: T; peakPss: number }> {
    let peakPss = 0;
    const { sidecar } = through.instance.instance.pids;
    const timer = setInterval(() => (peakPss = Math.max(peakPss, pssOf(sidecar))), 50);
    try {
      const value = await work;
      return { value, peakPss };
    } finally {
      clearInterval(timer);
    }
  }

  const shipped = (): Promise<unknown> =>
    until(
      'everything is shipped',
      async () => (await metricOf(through.instance, 'chaperone_spool_bytes')) < 10_000_000,
      600_000,
    );

  test('a cell passes down in pieces', async () => {
    const socket = await open();
    socket.write(buildQuery(`SELECT repeat('cell ', ${cellBytes / 5})`));
    const { value, peakPss } = await watched(drain(socket));
    assert.equal(value.bytes, 5 + 2 + 4 + cellBytes);
    assert.match(value.other, /C SELECT 1/);
    assert.ok(peakPss < maxPssBytes, `${peakPss} bytes`);
    socket.destroy();
    await shipped();
  });

  test('a parameter passes up in pieces', async () => {
    const socket = await open();
    const names = Buffer.from('\0\0');
    const length = 2 + 2 + 4 + cellBytes + 2; // formats, number, length and value, result formats
    socket.write(buildMessage('P', '', 'SELECT length($1::text)', int16(0)));
    socket.write(
      Buffer.concat([
        Buffer.from('B'),
        int32(4 + names.length + length),
        names,
        int16(0),
        int16(1),
        int32(cellBytes),
      ]),
    );
    const send = async (): Promise<Awaited<ReturnType<typeof drain>>> => {
      const part = Buffer.alloc(megabyte, 'p');
      for (let sent = 0; sent < cellBytes; sent += part.length)
        await write(socket, part.subarray(0, cellBytes - sent));
      socket.write(Buffer.concat([int16(0), buildExecute('', 0), buildSync()]));
      return drain(socket);
    };
    const { value, peakPss } = await watched(send());
    assert.match(value.other, /C SELECT 1/);
    assert.ok(peakPss < maxPssBytes, `${peakPss} bytes`);
    socket.destroy();
    await shipped();
  });

  test('a COPY passes in either direction in pieces', async () => {
    const socket = await open();
    socket.write(buildQuery('CREATE UNLOGGED TABLE copied (line text); COPY copied FROM STDIN'));
    await drain(socket, 'G');
    let sentBytes = 0;
    const send = async (): Promise<Awaited<ReturnType<typeof drain>>> => {
      for (; sentBytes < copyBytes; sentBytes += blockBytes) await write(socket, block);
      socket.write(buildMessage('c'));
      return drain(socket);
    };
    const up = await watched(send());
    assert.match(up.value.other, new RegExp(`C COPY ${sentBytes / line.length}\\0`));
    assert.ok(up.peakPss < maxPssBytes, `${up.peakPss} bytes`);
    await shipped();
    socket.write(buildQuery('COPY copied TO STDOUT'));
    const down = await watched(drain(socket));
    assert.equal(down.value.bytes, sentBytes + 5 * (sentBytes / line.length));
    assert.ok(down.peakPss < maxPssBytes, `${down.peakPss} bytes`);
    socket.destroy();
    await shipped();
  });
});

import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { buildPassword, buildQuery } from '#core/postgres/frontend.ts';
import { buildSslRequest, buildStartup } from '#core/postgres/startup.ts';

/**
 * A client that reads an answer and does nothing with it: the most that a server and a gateway can be asked to deliver.
 * Arguments: port, `tls` or `plain`, and the query; the password comes by PGPASSWORD, and has to be taken in the clear.
 * Prints milliseconds and bytes.
 */
const [port = '0', tls, query = ''] = process.argv.slice(2);
const host = '127.0.0.1';
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

let socket = connect({ host, port: Number(port), noDelay: true });
await once(socket, 'connect');
if (tls === 'tls') {
  socket.write(buildSslRequest());
  await once(socket, 'data');
  socket = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['postgresql'] });
  await once(socket, 'secureConnect');
}
socket.write(
  Buffer.concat([
    buildStartup(new Map(Object.entries({ user: 'postgres', database: 'bench' }))),
    buildPassword(process.env['PGPASSWORD'] ?? ''),
  ]),
);
await readAnswer();
const began = performance.now();
socket.write(buildQuery(query));
const bytes = await readAnswer();
process.stdout.write(`${JSON.stringify({ ms: performance.now() - began, bytes })}\n`);
socket.destroy();

async function readAnswer(): Promise<number> {
  let count = 0;
  let last: Buffer = Buffer.alloc(0);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const take = (chunk: Buffer): void => {
    count += chunk.length;
    last = chunk.length >= 6 ? chunk : Buffer.concat([last, chunk]);
    if (last.subarray(-6).equals(readyForQuery)) resolve();
  };
  socket.on('data', take).once('close', reject);
  await promise;
  socket.off('data', take).off('close', reject);
  return count;
}

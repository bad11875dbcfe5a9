import { createServer } from 'node:net';
import { loadOriginalDestination } from '../../sidecar/interception/original-destination.ts';

/** A listener at both loopback addresses that answers each connection with where it was going. */
const destinationOf = await loadOriginalDestination();
const [port] = process.argv.slice(2);
let listening = 0;
for (const host of ['127.0.0.1', '::1']) {
  const server = createServer((socket) => {
    const { host: to, port: at } = destinationOf(socket) ?? { host: 'nowhere', port: 0 };
    socket.end(`${to} ${at}`);
  });
  server.listen(Number(port), host, () => {
    listening += 1;
    if (listening === 2) process.stdout.write('{"event":"listening"}\n');
  });
}

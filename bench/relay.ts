import { connect, createServer, type AddressInfo } from 'node:net';

/**
 * The least that a proxy on this platform costs: bytes passed on as they come, with backpressure and nothing else. What
 * a gateway adds is measured against it. Arguments: host and port of the target. Prints the port that it listens on.
 */
const [host = '127.0.0.1', port = '5432'] = process.argv.slice(2);

const server = createServer({ noDelay: true }, (agent) => {
  const upstream = connect({ host, port: Number(port), noDelay: true });
  agent.on('error', () => upstream.destroy());
  upstream.on('error', () => agent.destroy());
  agent.on('data', (chunk) => {
    if (!upstream.write(chunk)) agent.pause();
  });
  upstream.on('data', (chunk) => {
    if (!agent.write(chunk)) upstream.pause();
  });
  agent.on('drain', () => upstream.resume());
  upstream.on('drain', () => agent.resume());
  agent.on('end', () => upstream.end());
  upstream.on('end', () => agent.end());
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`); // a TCP server's address is one
});

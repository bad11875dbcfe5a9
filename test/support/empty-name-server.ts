import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { decode, encode } from 'dns-packet';

const noSuchName = 3; // RFC 1035 section 4.1.1

/** Answers at port 53 of an address that no name exists, as servers of the world outside do of names within a cluster. */
export async function startEmptyNameServer(address: string): Promise<AsyncDisposable> {
  const socket = createSocket('udp4');
  socket.on('message', (bytes, { address: to, port }) => {
    const { id = 0, questions = [] } = decode(bytes);
    socket.send(encode({ type: 'response', id, flags: noSuchName, questions }), port, to);
  });
  socket.bind(53, address);
  await once(socket, 'listening');
  return {
    [Symbol.asyncDispose]: async () => {
      socket.close();
      await once(socket, 'close');
    },
  };
}

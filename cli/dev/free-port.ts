import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below what Linux (32768) and macOS (49152) take for outgoing connections, of which one could come in between. */
const first = 20_000;
const last = 32_767;
const tries = 50;

/**
 * Finds a port that is free now. Between here and its use another program could take it, though none that does not ask
 * for this very one; the start then fails. Throws the last error where no try found one.
 */
export async function findFreePort(): Promise<number> {
  let because: unknown;
  for (let turn = 0; turn < tries; turn += 1) {
    const port = randomInt(first, last + 1);
    try {
      await bindOnce(port);
      return port;
    } catch (error) {
      because = error;
    }
  }
  throw because;
}

async function bindOnce(port: number): Promise<void> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening'); // or its error
  server.close();
  await once(server, 'close');
}

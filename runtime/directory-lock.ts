import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';

/**
 * Claims a directory for this process until the server that it returns is closed. The claim is a socket, so that it ends with the process however that dies;
 * on Linux one without a file (an abstract name), elsewhere one whose file is removed when nobody answers.
 * @throws ChaperoneError `config-invalid` with `taken` as its message when another process has it.
 */
export async function lockDirectory(directory: string, taken: string): Promise<Server> {
  const name = `chaperone-${createHash('sha256').update(resolve(directory)).digest('hex').slice(0, 32)}`;
  const abstract = process.platform === 'linux';
  const path = abstract ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  if (!abstract && !(await answers(path))) rmSync(path, { force: true });
  const server = createServer((socket) => socket.destroy());
  server.unref();
  server.listen(path);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new ChaperoneError('config-invalid', taken, { cause });
  }
  return server;
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

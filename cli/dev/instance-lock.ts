import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';

/**
 * Claims a data directory for this process. The claim is a socket, so that it ends with the process however that dies;
 * on Linux one without a file (an abstract name), elsewhere one whose file is removed when nobody answers.
 * @throws ChaperoneError `config-invalid` when another process has it.
 */
export async function lockInstance(data: string): Promise<Server> {
  const name = `chaperone-${createHash('sha256').update(data).digest('hex').slice(0, 32)}`;
  const abstract = process.platform === 'linux';
  const path = abstract ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  if (!abstract && !(await answers(path))) rmSync(path, { force: true });
  const server = createServer((socket) => socket.destroy());
  server.unref();
  server.listen(path);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const message = `another "chaperone dev" runs on ${data}: stop it, or name another directory with --data`;
    throw new ChaperoneError('config-invalid', message, { cause });
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

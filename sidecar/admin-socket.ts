import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

/** What an operator on this machine may ask of a running sidecar: one line of JSON, answered by one. */
export interface AdminRequest {
  readonly command: 'kill';
  readonly session: string;
}

export interface AdminAnswer {
  /** Whether there was such a session. */
  readonly killed: boolean;
}

export interface AdminSocketOptions {
  readonly path: string;
  /** Ends a session; false when there is none of this id. */
  readonly kill: (session: string) => boolean;
}

const maxRequestBytes = 4_096;
const timeoutMs = 5_000;

/**
 * Listens on a Unix socket that only this account may connect to: who can open it could stop the process as well.
 * @throws when the path cannot be used.
 */
export async function listenForOperators({ path, kill }: AdminSocketOptions): Promise<Server> {
  rmSync(path, { force: true }); // what a killed process left
  const server = createServer((socket) => serve(socket, kill));
  const before = process.umask(0o177); // the socket is never there with wider rights, not even for a moment
  server.listen(path);
  process.umask(before);
  await once(server, 'listening');
  return server;
}

function serve(socket: Socket, kill: (session: string) => boolean): void {
  let text = '';
  socket.setTimeout(timeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (text.length > maxRequestBytes) socket.destroy();
    if (!text.includes('\n')) return;
    const session = tryParseKill(text);
    if (session === undefined) return void socket.destroy();
    const answer: AdminAnswer = { killed: kill(session) };
    socket.end(`${JSON.stringify(answer)}\n`);
    return undefined;
  });
}

function tryParseKill(text: string): string | undefined {
  try {
    const request: unknown = JSON.parse(text);
    if (typeof request !== 'object' || request === null || !('command' in request))
      return undefined;
    if (request.command !== 'kill' || !('session' in request)) return undefined;
    return typeof request.session === 'string' ? request.session : undefined;
  } catch {
    return undefined; // whoever it is does not speak this protocol, and is not answered
  }
}

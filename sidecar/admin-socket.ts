import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

/** What an operator on this machine may ask of a running sidecar: one line of JSON, answered by one. */
export interface AdminRequest {
  readonly command: 'kill';
  /** Id of a session, or its beginning. */
  readonly session: string;
}

export interface AdminAnswer {
  /** Ids of the open sessions that were meant. One: it is being ended. Several: the id was too short. */
  readonly sessions: readonly string[];
}

export interface AdminSocketOptions {
  readonly path: string;
  /** Ends the session whose id begins so, when there is exactly one; returns the ids of all. */
  readonly kill: (prefix: string) => readonly string[];
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

function serve(socket: Socket, kill: AdminSocketOptions['kill']): void {
  let text = '';
  socket.setTimeout(timeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  const take = (chunk: string): void => {
    text += chunk;
    if (text.length > maxRequestBytes) return void socket.destroy();
    if (!text.includes('\n')) return undefined;
    socket.off('data', take).resume(); // one request a connection
    const request = tryParseRequest(text);
    if (!request) return void socket.destroy();
    const answer: AdminAnswer = { sessions: kill(request.session) };
    socket.end(`${JSON.stringify(answer)}\n`);
    return undefined;
  };
  socket.setEncoding('utf8').on('data', take);
}

/** Too short a beginning would end whatever happens to be open. */
const sessionId = /^[0-9a-f]{6}[0-9a-f-]{0,30}$/;

function tryParseRequest(text: string): AdminRequest | undefined {
  try {
    const request: unknown = JSON.parse(text);
    if (typeof request !== 'object' || request === null) return undefined;
    if (!('command' in request) || request.command !== 'kill' || !('session' in request))
      return undefined;
    const { session } = request;
    if (typeof session !== 'string' || !sessionId.test(session)) return undefined;
    return { command: 'kill', session };
  } catch {
    return undefined; // whoever it is does not speak this protocol, and is not answered
  }
}

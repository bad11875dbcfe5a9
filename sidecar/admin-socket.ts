import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Answer } from '#core/policy/question.ts';
import { tryParseRequest, type AdminRequest } from './admin-request.ts';
import type { Explainer, Told } from './explainer.ts';

/** Answer to `kill`. */
export interface KillAnswer {
  /** Ids of the open sessions that were meant. One: it is being ended. Several: the id was too short. */
  readonly sessions: readonly string[];
}

export interface AdminSocketOptions {
  readonly path: string;
  /** Ends the session whose id begins so, when there is exactly one; returns the ids of all. */
  readonly kill: (prefix: string) => readonly string[];
  readonly explainer: Pick<Explainer, 'explain' | 'read'>;
}

/** A text as long as is judged, of characters that JSON writes with six each. */
const maxRequestLength = 2 * 1024 * 1024;
const maxConnections = 16;
/** Of a request on its way in, and of its answer: a catalogue takes 5 s at most to be read. */
const timeoutMs = 10_000;

/**
 * Listens on a Unix socket that only this account may connect to: who can open it could stop the process as well.
 * @throws when the path cannot be used.
 */
export async function listenForOperators(options: AdminSocketOptions): Promise<Server> {
  const { path } = options;
  rmSync(path, { force: true }); // what a killed process left
  // Clients end their side behind the request: the answer still goes out then.
  const server = createServer({ allowHalfOpen: true }, (socket) => serve(socket, options));
  server.maxConnections = maxConnections;
  const before = process.umask(0o177); // the socket is never there with wider rights, not even for a moment
  server.listen(path);
  process.umask(before);
  await once(server, 'listening');
  return server;
}

function serve(socket: Socket, options: AdminSocketOptions): void {
  const pieces: string[] = [];
  let length = 0;
  const give = (): void => void socket.destroy();
  socket.setTimeout(timeoutMs, give);
  socket.on('error', give);
  socket.on('end', give);
  const take = (chunk: string): void => {
    pieces.push(chunk);
    length += chunk.length;
    if (length > maxRequestLength) return give();
    if (!chunk.includes('\n')) return undefined;
    socket.off('data', take).off('end', give).resume(); // one request a connection
    const request = tryParseRequest(pieces.join(''));
    if (!request) return give();
    reply(request, options).then((said) => socket.end(`${JSON.stringify(said)}\n`), give);
    return undefined;
  };
  socket.setEncoding('utf8').on('data', take);
}

async function reply(
  request: AdminRequest,
  { kill, explainer }: AdminSocketOptions,
): Promise<KillAnswer | Answer | Told> {
  switch (request.command) {
    case 'kill':
      return { sessions: kill(request.session) };
    case 'explain':
      return explainer.explain(request.question);
    case 'read':
      return explainer.read(request.text);
  }
}

import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import {
  buildAuthenticationOk,
  buildBackendKeyData,
  buildParameterStatus,
  buildReadyForQuery,
} from '#core/postgres/backend.ts';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { tryParseStartup } from '#core/postgres/startup.ts';
import type { BackendServer } from './backend-server.ts';

/** A connection of the gateway that has got past the login, or not even that. */
export interface RawConnection {
  readonly socket: Socket;
  /** What it asks of the test: the database that was named at startup. */
  readonly database: string;
  /** Greets as a server that trusts everybody. */
  readonly greet: () => void;
  /** Calls back with each message that comes from then on. */
  readonly onMessage: (take: (tag: number, body: Buffer) => void) => void;
}

/** A server that speaks as the test wants, beginning behind the startup message. Cancel requests are closed. */
export interface RawBackend extends BackendServer {
  /** Connections that are open now. */
  readonly open: ReadonlySet<Socket>;
}

const noLog = (): string => '';

/** Starts a server whose connections are served by `serve`. */
export async function startRawBackend(
  serve: (connection: RawConnection) => void,
): Promise<RawBackend> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => open.delete(socket));
    socket.on('end', () => socket.end());
    let bytes = Buffer.alloc(0);
    const begin = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const startup = tryParseStartup(bytes);
      if (!startup) return;
      socket.off('data', begin);
      if (startup.value.kind !== 'startup') return void socket.destroy();
      serve(connection(socket, startup.value.parameters.get('database') ?? ''));
      return undefined;
    };
    socket.on('data', begin);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    host: '127.0.0.1',
    port,
    user: 'postgres',
    password: 'not asked for',
    ca: undefined,
    directory: '',
    clientCertificate: () => Promise.reject(new Error('it has no TLS')),
    log: noLog,
    open,
    [Symbol.asyncDispose]: async () => {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function connection(socket: Socket, database: string): RawConnection {
  return {
    socket,
    database,
    greet: () => {
      const key = { processId: 1, secret: Buffer.from('key!') };
      socket.write(
        Buffer.concat([
          buildAuthenticationOk(),
          buildParameterStatus('server_version', '18.0'),
          buildBackendKeyData(key),
          buildReadyForQuery('I'),
        ]),
      );
    },
    onMessage: (take) => {
      const splitter = new FrameSplitter({
        streamed: new Set(),
        maxMessageBytes: 0x4000_0000,
        oversized: 'throw',
      });
      socket.on('data', (chunk: Buffer) => {
        for (const piece of splitter.push(chunk))
          if (piece.kind === 'message') take(piece.tag, piece.body);
      });
    },
  };
}

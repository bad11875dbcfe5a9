import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { buildAnswer, readQuery, type DnsAnswer, type DnsQuery } from '#core/dns/packet.ts';
import { ChaperoneError } from '#core/errors.ts';
import { redirectedTo } from '../loopback.ts';

export interface DnsServerOptions {
  readonly port: number;
  /** Where it rejects, and where what it returns cannot be written, the client is told that the server has failed. */
  readonly answer: (query: DnsQuery) => Promise<DnsAnswer>;
  readonly onError: (error: unknown) => void;
}

export interface DnsServer {
  /** Takes no more questions. */
  close(): void;
}

const maxWaiting = 512; // datagrams that are being answered; further ones are dropped, and asked again
const maxConnections = 64;
const idleMs = 10_000; // RFC 7766 section 6.2.3 leaves it to the server
const maxMessageBytes = 65_535;

/** Answers DNS by UDP and TCP. @throws ChaperoneError `config-invalid` when the port is taken. */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { port } = options;
  const opened: { close(): unknown }[] = [];
  try {
    for (const host of redirectedTo()) {
      const datagrams = createSocket(host === '::1' ? 'udp6' : 'udp4');
      opened.push(datagrams);
      datagrams.bind(port, host);
      await once(datagrams, 'listening');
      answerDatagrams(datagrams, options);
      const streams = createServer({ noDelay: true });
      opened.push(streams);
      streams.listen({ host, port });
      await once(streams, 'listening');
      answerStreams(streams, options);
    }
  } catch (cause) {
    for (const each of opened) each.close();
    const message = `cannot listen on port ${port} for DNS: is it in use?`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
  return {
    close: () => {
      for (const each of opened) each.close();
    },
  };
}

function answerDatagrams(socket: DatagramSocket, options: DnsServerOptions): void {
  let waiting = 0;
  let closed = false;
  socket.on('close', () => (closed = true));
  socket.on('error', () => undefined); // of one answer, whose client asks again
  const reply = async (bytes: Buffer, port: number, address: string): Promise<void> => {
    const answered = await answerTo(bytes, options, undefined);
    if (answered && !closed) socket.send(answered, port, address);
  };
  socket.on('message', (bytes, { port, address }) => {
    if (waiting >= maxWaiting) return;
    waiting += 1;
    void reply(bytes, port, address).finally(() => (waiting -= 1));
  });
}

function answerStreams(server: Server, options: DnsServerOptions): void {
  const open = new Set<Socket>();
  server.on('error', () => undefined); // of one connection that could not be accepted
  server.on('connection', (socket) => {
    open.add(socket);
    const [oldest] = open; // a Set yields in order of insertion
    if (open.size > maxConnections) oldest?.destroy();
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => open.delete(socket));
    void serveStream(socket, options).finally(() => socket.destroy());
  });
  server.on('close', () => {
    for (const socket of open) socket.destroy();
  });
}

/** One message after the other: what a client sends meanwhile stays in the kernel. Never rejects. */
async function serveStream(socket: Socket, options: DnsServerOptions): Promise<void> {
  let pending: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of socket) {
      pending = Buffer.concat([pending, chunk as Buffer]); // a socket without an encoding yields Buffers
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const answered = await answerTo(pending.subarray(2, end), options, maxMessageBytes);
        if (!answered) return;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answered.length, 0);
        if (!socket.write(Buffer.concat([length, answered]))) await once(socket, 'drain');
        pending = pending.subarray(end);
      }
    }
  } catch {
    // The client is gone, and with it what it asked.
  }
}

/** Never rejects. */
async function answerTo(
  bytes: Buffer,
  { answer, onError }: DnsServerOptions,
  maxBytes: number | undefined,
): Promise<Buffer | undefined> {
  const read = readQuery(bytes);
  if (read?.kind !== 'query') return read?.answer;
  const { query } = read;
  const longest = maxBytes ?? query.maxBytes;
  try {
    return buildAnswer(query, await answer(query), longest);
  } catch (error) {
    onError(error);
    return buildAnswer(query, { code: 'SERVFAIL', records: [] }, longest);
  }
}

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { parseErrorFields } from '#core/postgres/backend.ts';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildPassword } from '#core/postgres/frontend.ts';
import { buildCancelRequest, buildStartup } from '#core/postgres/startup.ts';

export interface RawLogin {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly password: string;
  /** Further parameters of the startup message. */
  readonly parameters?: Readonly<Record<string, string>>;
}

const timeoutMs = 15_000;

/** A client that sends what it is told, and shows what comes: for what no driver would do. */
export class RawClient {
  readonly #login: RawLogin;
  readonly #socket: Socket;
  readonly #splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: 100_000_000,
    oversized: 'throw',
  });
  readonly #answers: string[] = [];
  #key: { processId: number; secret: Buffer } | undefined;
  #wake: () => void = () => undefined;

  private constructor(login: RawLogin, socket: Socket) {
    this.#login = login;
    this.#socket = socket;
    socket.on('error', () => undefined); // 'close' follows
    socket.on('end', () => this.#wake());
    socket.on('close', () => this.#wake());
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  /** Logs in with the password in the clear. */
  static async connect(login: RawLogin): Promise<RawClient> {
    const socket = connect({
      host: login.host,
      port: login.port,
      allowHalfOpen: true,
      noDelay: true,
    });
    await once(socket, 'connect');
    const client = new RawClient(login, socket);
    const { user, database } = login;
    const parameters = new Map(Object.entries({ user, database, ...login.parameters }));
    socket.write(buildStartup(parameters));
    socket.write(buildPassword(login.password));
    const greeting = await client.read((answer) => answer.startsWith('Z'));
    if (client.closed) client.#answers.unshift(...greeting); // why it was refused
    return client;
  }

  get closed(): boolean {
    return this.#socket.closed || this.#socket.readableEnded;
  }

  send(...frames: readonly Buffer[]): void {
    this.#socket.write(Buffer.concat(frames));
  }

  /** Resolves when everything that was sent has been handed to the kernel. */
  async sent(): Promise<void> {
    if (this.#socket.writableLength > 0) await once(this.#socket, 'drain');
  }

  /** Takes what has come up to the answer that `isLast`, or to the end of the connection. */
  async read(isLast: (answer: string) => boolean): Promise<string[]> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const end = this.#answers.findIndex(isLast);
      if (end >= 0) return this.#answers.splice(0, end + 1);
      if (this.closed) return this.#answers.splice(0);
      if (performance.now() > deadline) throw new Error(`stuck after ${this.#answers.join(' / ')}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (this.closed) this.#wake();
      });
    }
  }

  /** Cancels as libpq does: on a connection of its own, which nobody answers. */
  async cancel(): Promise<void> {
    if (!this.#key) throw new Error('there is no cancel key');
    const socket = connect(this.#login.port, this.#login.host);
    socket.on('error', () => undefined);
    socket.end(buildCancelRequest(this.#key.processId, this.#key.secret));
    socket.resume();
    await once(socket, 'close');
  }

  /** Says that nothing more comes, and takes all that is still answered. */
  async end(): Promise<string[]> {
    this.#socket.end();
    const answers = await this.read(() => false);
    this.#socket.destroy();
    return answers;
  }

  /** Reads nothing more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Ends the connection with a RST, as when a process dies with bytes unread. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    for (const piece of this.#splitter.push(chunk)) {
      if (piece.kind !== 'message') continue;
      const tag = String.fromCharCode(piece.tag);
      const { body } = piece;
      if (tag === 'K') this.#key = { processId: body.readInt32BE(), secret: body.subarray(4) };
      if (tag === 'K' || tag === 'S' || tag === 'R') continue; // keys differ, and parameters come at any time
      const shown =
        tag === 'E' || tag === 'N'
          ? [...parseErrorFields(body)]
              .filter(([field]) => !'FLR'.includes(field)) // where in the server's source
              .flat()
              .join('|')
          : body.toString('latin1');
      this.#answers.push(`${tag} ${shown}`);
    }
    this.#wake();
  }
}

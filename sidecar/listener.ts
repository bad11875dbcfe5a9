import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import type { Bundle, ResolvedBackend } from '#core/policy/resolve.ts';
import type { Address } from '../runtime/settings.ts';
import type { Connections } from './connections.ts';

export interface ListenerOptions {
  readonly connections: Connections;
  /** Port of the first backend; further ones take the next. 0: free ports. */
  readonly basePort: number;
  /** Ports that are given out already, by backend. */
  readonly ports: ReadonlyMap<string, number>;
  readonly log: Logger;
  readonly onListening: (backends: ReadonlyMap<string, Address>) => void;
}

interface Door {
  readonly server: Server;
  readonly address: Address;
  backend: ResolvedBackend;
}

const loopback = '127.0.0.1';
const backlog = 1024;

/** Explicit mode: a loopback port for each backend. A port, once given to a name, stays with it. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #doors = new Map<string, Door>();
  readonly #ports: Map<string, number>;
  #applying: Promise<void> = Promise.resolve();

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#ports = new Map(options.ports);
  }

  /**
   * Opens doors for new backends and closes those of backends that are gone. A door that cannot be opened keeps no other
   * one closed, and is tried again with the next bundle.
   * @throws ChaperoneError `config-invalid` that says which could not be opened.
   */
  apply(bundle: Bundle): Promise<void> {
    const applied = this.#applying.then(() => this.#apply(bundle));
    this.#applying = applied.catch(() => undefined); // whoever called was told; the next bundle is another matter
    return applied;
  }

  /** Takes no new connections, and waits for those that are open. Never rejects. */
  async close(): Promise<void> {
    await this.#applying;
    for (const { server } of this.#doors.values()) server.close();
    await this.#options.connections.close();
  }

  async #apply(bundle: Bundle): Promise<void> {
    if (this.#options.connections.closing) return;
    for (const [name, { server }] of this.#doors) {
      if (bundle.backends.has(name)) continue;
      server.close();
      this.#doors.delete(name);
    }
    const failures: unknown[] = [];
    for (const backend of bundle.backends.values()) {
      const door = this.#doors.get(backend.name);
      if (door) door.backend = backend;
      else await this.#open(backend).catch((error: unknown) => failures.push(error));
    }
    this.#options.onListening(
      new Map([...this.#doors].map(([name, { address }]) => [name, address])),
    );
    if (failures.length === 0) return;
    const said = failures.map((error) => (error instanceof Error ? error.message : 'unknown'));
    const cause = failures.length === 1 ? failures[0] : new AggregateError(failures);
    throw new ChaperoneError('config-invalid', said.join('; '), { cause });
  }

  async #open(backend: ResolvedBackend): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true });
    const wanted = this.#portOf(backend.name);
    server.listen({ host: loopback, port: wanted, backlog });
    try {
      await once(server, 'listening');
    } catch (cause) {
      const message = `cannot listen on port ${wanted} for backend ${backend.name}: is it in use? Choose another with --port`;
      throw new ChaperoneError('config-invalid', message, { cause });
    }
    const { port } = server.address() as AddressInfo; // a TCP server's address is one
    const door: Door = { server, address: { host: loopback, port }, backend };
    this.#doors.set(backend.name, door);
    this.#ports.set(backend.name, port);
    server.on('connection', (socket) => this.#accept(socket, door));
    server.on('error', (error) => this.#options.log.error({ err: error }, 'a listener failed'));
  }

  #portOf(name: string): number {
    const known = this.#ports.get(name);
    if (known !== undefined || this.#options.basePort === 0) return known ?? 0;
    const port = this.#options.basePort + this.#ports.size;
    this.#ports.set(name, port);
    return port;
  }

  #accept(socket: Socket, { backend, address }: Door): void {
    socket.on('error', () => socket.destroy());
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) return void socket.destroy();
    return this.#options.connections.serve(socket, {
      backend,
      client: { address: remoteAddress, port: remotePort },
      server: { address: address.host, port: address.port },
    });
  }
}

import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal } from '#core/operation.ts';
import type { Bundle, ResolvedBackend } from '#core/policy/resolve.ts';
import type { Address } from '../runtime/settings.ts';
import type { Lane, LaneHost, Target } from './lane.ts';
import type { Metrics } from './metrics.ts';

export interface ListenerOptions {
  readonly host: LaneHost;
  readonly lanes: readonly Lane[];
  /** Port of the first backend; further ones take the next. 0: free ports. */
  readonly basePort: number;
  /** Ports that are given out already, by backend. */
  readonly ports: ReadonlyMap<string, number>;
  /** Connections that have not logged in; past this the oldest is closed, so that idle ones keep nobody out. */
  readonly maxPending: number;
  readonly metrics: Metrics;
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
  readonly #pending = new Set<Socket>();
  readonly #connections = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #applying: Promise<void> = Promise.resolve();

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#ports = new Map(options.ports);
  }

  get pendingCount(): number {
    return this.#pending.size;
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
    this.#closing.abort(new ChaperoneError('draining', 'the gateway is shutting down'));
    for (const socket of this.#pending) socket.destroy();
    await Promise.all(this.#connections);
  }

  async #apply(bundle: Bundle): Promise<void> {
    if (this.#closing.signal.aborted) return;
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
    const { metrics, lanes, host, log } = this.#options;
    socket.on('error', () => socket.destroy());
    const lane = lanes.find(({ protocol }) => protocol === backend.protocol);
    const { remoteAddress, remotePort } = socket;
    if (!lane || remoteAddress === undefined || remotePort === undefined)
      return void socket.destroy();
    const target: Target = {
      backend,
      client: { address: remoteAddress, port: remotePort },
      server: { address: address.host, port: address.port },
    };
    this.#admitPending(socket);
    let outcome = 'served';
    const tracked = this.#trackLogin(host, socket, () => (outcome = 'refused'));
    const served = lane
      .serve(socket, target, tracked, this.#closing.signal)
      .then(
        () => metrics.connections.inc({ protocol: backend.protocol, outcome }),
        (error: unknown) => {
          metrics.connections.inc({ protocol: backend.protocol, outcome: 'failed' });
          log.error({ err: error }, 'a connection failed');
          socket.destroy();
        },
      )
      .finally(() => {
        this.#pending.delete(socket);
        this.#connections.delete(served);
      });
    this.#connections.add(served);
    return undefined;
  }

  #admitPending(socket: Socket): void {
    this.#pending.add(socket);
    socket.once('close', () => this.#pending.delete(socket));
    if (this.#pending.size <= this.#options.maxPending) return;
    const [oldest] = this.#pending; // a Set yields in order of insertion
    oldest?.destroy();
    if (oldest) this.#pending.delete(oldest);
  }

  /** A connection counts as logged in once its session is open. */
  #trackLogin(host: LaneHost, socket: Socket, onRefused: () => void): LaneHost {
    return {
      tokenPolicy: () => host.tokenPolicy(),
      identify: async (target, presented) => {
        const who = await host.identify(target, presented);
        if (isRefusal(who)) onRefused();
        return who;
      },
      open: async (who, target, login) => {
        const session = await host.open(who, target, login);
        if (isRefusal(session)) onRefused();
        else this.#pending.delete(socket);
        return session;
      },
      dial: (backend, signal) => host.dial(backend, signal),
      credential: (ref) => host.credential(ref),
      warn: (target, error) => host.warn(target, error),
      refused: (target, reason) => {
        onRefused();
        host.refused(target, reason);
      },
      secure: (agent) => host.secure(agent),
      cancels: host.cancels,
      grammar: host.grammar,
      databases: host.databases,
      loginTimeoutMs: host.loginTimeoutMs,
    };
  }
}

import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal } from '#core/operation.ts';
import type { Lane, LaneHost, Target } from './lane.ts';
import type { Metrics } from './metrics.ts';

export interface ConnectionsOptions {
  readonly host: LaneHost;
  readonly lanes: readonly Lane[];
  /** Connections that have not logged in; past this the oldest is closed, so that idle ones keep nobody out. */
  readonly maxPending: number;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Connections of agents, wherever they were accepted: each is handed to the lane of its target. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #pending = new Set<Socket>();
  readonly #served = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  get closing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Serves a connection to its end. */
  serve(socket: Socket, target: Target): void {
    const { metrics, lanes, host, log } = this.#options;
    const { protocol } = target.backend;
    const lane = lanes.find((each) => each.protocol === protocol);
    if (!lane || this.closing) return void socket.destroy();
    this.#admitPending(socket);
    let outcome = 'served';
    const tracked = this.#trackLogin(host, socket, () => (outcome = 'refused'));
    const served = lane
      .serve(socket, target, tracked, this.#closing.signal)
      .then(
        () => metrics.connections.inc({ protocol, outcome }),
        (error: unknown) => {
          metrics.connections.inc({ protocol, outcome: 'failed' });
          log.error({ err: error }, 'a connection failed');
          socket.destroy();
        },
      )
      .finally(() => {
        this.#pending.delete(socket);
        this.#served.delete(served);
      });
    this.#served.add(served);
    return undefined;
  }

  /** Serves no new ones, and waits for those that are open. Never rejects. */
  async close(): Promise<void> {
    this.#closing.abort(new ChaperoneError('draining', 'the gateway is shutting down'));
    for (const socket of this.#pending) socket.destroy();
    await Promise.all(this.#served);
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
      trustsLoopback: host.trustsLoopback,
      credential: (ref) => host.credential(ref),
      warn: (target, error) => host.warn(target, error),
      refused: (target, reason) => {
        onRefused();
        host.refused(target, reason);
      },
      secure: (agent, backend) => host.secure(agent, backend),
      cancels: host.cancels,
      grammar: host.grammar,
      databases: host.databases,
      loginTimeoutMs: host.loginTimeoutMs,
    };
  }
}

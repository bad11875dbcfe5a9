import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import type { LearnedNames } from '#core/dns/learned-names.ts';
import { ChaperoneError } from '#core/errors.ts';
import { findDestination, type Destination } from '#core/interception/destination.ts';
import { isSentinel, writeSentinelAnswer } from '#core/interception/sentinel.ts';
import type { Bundle, ResolvedBackend } from '#core/policy/resolve.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { Address } from '../../runtime/settings.ts';
import type { Connections } from '../connections.ts';
import type { Target } from '../lane.ts';
import { redirectedTo } from '../loopback.ts';
import type { BackendAddresses } from './backend-addresses.ts';
import type { OriginalDestination } from './original-destination.ts';

export interface TransparentListenerOptions {
  readonly port: number;
  readonly connections: Connections;
  readonly originalDestination: OriginalDestination;
  readonly learned: LearnedNames;
  /** Asked where Backends are before an address counts as unknown. */
  readonly places: Pick<BackendAddresses, 'lookUp'>;
  readonly isDenied: (address: string, port: number) => boolean;
  /** The bundle in force; while there is none, nothing is accepted. */
  readonly bundle: () => Bundle | undefined;
  /** What the policies in force say of a host that no Backend has. */
  readonly unknownHost: () => RecordedVerdict;
  /** Why the sidecar cannot do its work now, or undefined when it can: whoever dials a sentinel is told. */
  readonly notReady: () => string | undefined;
  readonly log: Logger;
  readonly nowMs: () => number;
}

const backlog = 1_024;
const sentinelMs = 5_000;
const maxWaiting = 1_024; // connections for which it is being found out where Backends are; further ones are reset

/** Accepts what the rules of the pod have led here, and finds out where it was going. */
export class TransparentListener {
  readonly #options: TransparentListenerOptions;
  readonly #servers: Server[] = [];
  #waiting = 0;

  constructor(options: TransparentListenerOptions) {
    this.#options = options;
  }

  /** @throws ChaperoneError `config-invalid` when the port is taken. */
  async open(): Promise<void> {
    const { port, log } = this.#options;
    for (const host of redirectedTo()) {
      const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true });
      this.#servers.push(server);
      server.listen({ host, port, backlog });
      try {
        await once(server, 'listening');
      } catch (cause) {
        await this.close();
        const message = `cannot listen on port ${port} of ${host}: is it in use?`;
        throw new ChaperoneError('config-invalid', message, { cause });
      }
      server.on('connection', (socket) => this.#accept(socket));
      server.on('error', (error) => log.error({ err: error }, 'a listener failed'));
    }
  }

  /** Takes no new connections, and waits for those that are open. Never rejects. */
  async close(): Promise<void> {
    for (const server of this.#servers) server.close();
    await this.#options.connections.close();
  }

  #accept(socket: Socket): void {
    const { originalDestination, bundle, isDenied, places } = this.#options;
    socket.on('error', () => socket.destroy());
    const dialled = originalDestination(socket);
    if (dialled && isSentinel(dialled)) return answerSentinel(socket, this.#options.notReady());
    const inForce = bundle();
    if (!dialled || !inForce) return void socket.resetAndDestroy();
    const { host, port } = dialled;
    if (isDenied(host, port) || this.#destinationOf(dialled, inForce).kind !== 'unknown')
      return this.#serve(socket, dialled, inForce);
    if (this.#waiting >= maxWaiting) return void socket.resetAndDestroy();
    this.#waiting += 1;
    return void places
      .lookUp(port, inForce.backends.values())
      .then(() => this.#serve(socket, dialled, bundle() ?? inForce))
      .finally(() => (this.#waiting -= 1));
  }

  #serve(socket: Socket, dialled: Address, inForce: Bundle): void {
    const { learned, connections, nowMs } = this.#options;
    const { remoteAddress, remotePort } = socket;
    if (socket.destroyed || remoteAddress === undefined || remotePort === undefined)
      return void socket.resetAndDestroy(); // it is gone already
    const done = learned.use(dialled.host);
    socket.once('close', () => done(nowMs()));
    return connections.serve(socket, {
      ...this.#find(dialled, inForce),
      client: { address: remoteAddress, port: remotePort },
      server: { address: dialled.host, port: dialled.port },
    });
  }

  #destinationOf({ host: address, port }: Address, { backends }: Bundle): Destination {
    const names = this.#options.learned.namesOf(address, this.#options.nowMs());
    return findDestination({ address, port, names }, backends.values());
  }

  #find(dialled: Address, bundle: Bundle): Pick<Target, 'backend' | 'undeclared'> {
    const { learned, isDenied, unknownHost, nowMs } = this.#options;
    const { host: address, port } = dialled;
    const names = learned.namesOf(address, nowMs());
    const { revision } = bundle;
    const deny = (reason: 'denied-address' | 'ambiguous-host') => ({
      backend: undeclaredBackend(dialled, names),
      undeclared: { names, verdict: () => ({ action: 'Deny', wouldBe: 'Deny', reason, revision }) as const }, // prettier-ignore
    });
    if (isDenied(address, port)) return deny('denied-address');
    const found = this.#destinationOf(dialled, bundle);
    if (found.kind === 'backend') return { backend: found.backend };
    // Recording alone must break nothing: then it passes as what it is, a connection to an address.
    if (found.kind === 'ambiguous' && bundle.policy?.enforcing === true)
      return deny('ambiguous-host');
    return {
      backend: undeclaredBackend(dialled, names),
      undeclared: { names, verdict: unknownHost },
    };
  }
}

/** Says that it is the sidecar, and keeps the connection no longer than that takes. */
function answerSentinel(socket: Socket, notReady: string | undefined): void {
  socket.setTimeout(sentinelMs, () => socket.destroy());
  socket.resume();
  socket.on('end', () => socket.destroy());
  socket.end(writeSentinelAnswer(notReady));
}

/** Has a name that no Backend can have. */
function undeclaredBackend({ host, port }: Address, names: readonly string[]): ResolvedBackend {
  return {
    name: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    protocol: 'TCP',
    upstream: { host, port, tls: { mode: 'Disable', ca: undefined } },
    credential: undefined,
    postgres: { users: new Map(), databases: new Map(), applicationName: 'Keep', settings: [] },
    hosts: names,
    ports: [port],
    labels: new Map(),
  };
}

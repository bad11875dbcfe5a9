import { setTimeout as delay } from 'node:timers/promises';
import { ApiException } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ServerKeyPair } from '#core/control.ts';
import { checkPair, type CheckedPair } from '../../runtime/tls-files.ts';
import { issuedAuthorities, servers, type Kept, type Server } from './kept.ts';
import type { CertificateObjects } from './objects.ts';
import { trustedAuthorities } from './plan.ts';

/** A new authority is announced a day before it matters; one that had to be made at once matters now. */
const rereadMs = 5_000;
const firstMs = 500;

export interface IssuedOptions {
  readonly objects: CertificateObjects;
  readonly log: Logger;
  readonly rereadMs?: number;
}

interface State {
  readonly pair: CheckedPair;
  readonly authorities: Readonly<Record<Server, string>>;
  /** Each in PEM, without the line end. */
  readonly issued: ReadonlyMap<Server, ReadonlySet<string>>;
}

/** What the leader has issued, as every replica of the controller needs it; read again every few seconds. */
export class IssuedCertificates {
  readonly #options: IssuedOptions;
  readonly #closing = new AbortController();
  readonly #listeners = new Set<() => void>();
  #state: State;
  #lastProblem: string | undefined;

  private constructor(options: IssuedOptions, state: State) {
    this.#options = options;
    this.#state = state;
    void this.#follow(); // rejects never
  }

  /** Waits until there are certificates: on a new installation some replica makes them first. */
  static async open(options: IssuedOptions, signal: AbortSignal): Promise<IssuedCertificates> {
    let lastProblem: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      const read = await tryRead(options.objects);
      if (read.kind === 'read') return new IssuedCertificates(options, read.state);
      if (read.problem !== lastProblem)
        options.log.warn({ problem: read.problem }, 'waits for certificates');
      lastProblem = read.problem;
      await delay(firstMs, undefined, { signal });
    }
  }

  /** What the controller shows. */
  get pair(): ServerKeyPair {
    const { cert, key } = this.#state.pair;
    return { cert, key };
  }

  /** When that expires, in milliseconds since 1970. */
  get expiresMs(): number {
    return this.#state.pair.expiresMs;
  }

  /** What clients of each server are to trust, in PEM: two authorities while one is replaced. */
  get authorities(): Readonly<Record<Server, string>> {
    return this.#state.authorities;
  }

  /**
   * Whether a text is PEM of authorities of a server that this installation made, also earlier ones, and nothing else:
   * whoever put another one into a pod could stand between.
   */
  isIssued(server: Server, pem: string): boolean {
    const issued = this.#state.issued.get(server);
    const blocks = blocksOf(pem);
    return blocks.length > 0 && blocks.every((block) => issued?.has(block) === true);
  }

  /** Is called after each change of what is shown or trusted. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#closing.abort();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    const { objects, log, rereadMs: everyMs = rereadMs } = this.#options;
    for (;;) {
      await delay(everyMs, undefined, { signal }).catch(() => undefined); // closed
      if (signal.aborted) return;
      const read = await tryRead(objects);
      const problem = read.kind === 'read' ? undefined : read.problem;
      if (problem !== undefined && problem !== this.#lastProblem)
        log.warn({ problem }, 'certificates cannot be read again');
      this.#lastProblem = problem;
      if (read.kind === 'read' && !signal.aborted) this.#take(read.state);
    }
  }

  #take(state: State): void {
    const last = this.#state;
    this.#state = state;
    const isSame =
      last.pair.cert === state.pair.cert &&
      servers.every((server) => last.authorities[server] === state.authorities[server]);
    if (isSame) return;
    this.#options.log.info('certificates were read again');
    for (const listener of this.#listeners) listener();
  }
}

type Read =
  | { readonly kind: 'read'; readonly state: State }
  | { readonly kind: 'nothing'; readonly problem: string };

async function tryRead(objects: CertificateObjects): Promise<Read> {
  try {
    const kept = await objects.readAllKept(servers);
    const leaf = await objects.readLeaf('controller');
    const [webhook, controller, collector] = servers.map((server) => trusted(kept.get(server)));
    if (!webhook || !controller || !collector)
      return { kind: 'nothing', problem: 'there are no authorities' };
    if (leaf.value.cert === '') return { kind: 'nothing', problem: 'there is no certificate' };
    const issued = servers.map((server): [Server, ReadonlySet<string>] => {
      const known = kept.get(server);
      return [server, new Set(blocksOf(known ? issuedAuthorities(known).join('\n') : ''))];
    });
    const authorities = { webhook, controller, collector };
    const state = { pair: checkPair(leaf.value), authorities, issued: new Map(issued) };
    return { kind: 'read', state };
  } catch (error) {
    // Its text may quote a key.
    const problem =
      error instanceof ApiException ? `status ${error.code}` : error instanceof Error ? error.name : 'unknown'; // prettier-ignore
    return { kind: 'nothing', problem };
  }
}

function trusted(kept: Kept | undefined): string {
  return kept ? trustedAuthorities(kept) : '';
}

function blocksOf(pem: string): string[] {
  return pem
    .split(/(?<=-----END CERTIFICATE-----)/)
    .map((block) => block.trim())
    .filter((block) => block !== '');
}

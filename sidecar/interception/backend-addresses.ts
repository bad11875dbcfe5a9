import { isIP } from 'node:net';
import type { ResolvedBackend } from '#core/policy/resolve.ts';

export interface BackendAddressesOptions {
  /** Takes note of the addresses of a name. Never rejects. */
  readonly lookUp: (name: string) => Promise<unknown>;
  readonly nowMs: () => number;
}

const keepMs = 30_000;
const atOnce = 16;

/**
 * Finds out where Backends are, so that one is recognised by its address though nobody in the pod has asked for its name.
 * Else an agent that knows the address, or another name of it, would pass by the rules of the Backend wherever hosts that
 * no Backend has are let through.
 */
export class BackendAddresses {
  readonly #options: BackendAddressesOptions;
  /** Names that were looked up: until when that counts, and when it is done. */
  readonly #lookups = new Map<string, { readonly untilMs: number; readonly done: Promise<void> }>();

  constructor(options: BackendAddressesOptions) {
    this.#options = options;
  }

  /** Looks up all that could be at a port, except what was in the last half minute. Never rejects. */
  async lookUp(port: number, backends: Iterable<ResolvedBackend>): Promise<void> {
    const names = namesAt(port, backends);
    const now = this.#options.nowMs();
    for (const [name, { untilMs }] of this.#lookups) if (untilMs <= now) this.#lookups.delete(name);
    for (let first = 0; first < names.length; first += atOnce)
      await Promise.all(names.slice(first, first + atOnce).map((name) => this.#lookUpOne(name)));
  }

  #lookUpOne(name: string): Promise<void> {
    const { lookUp, nowMs } = this.#options;
    const under = this.#lookups.get(name);
    if (under) return under.done;
    const done = lookUp(name).then(() => undefined);
    this.#lookups.set(name, { untilMs: nowMs() + keepMs, done });
    return done;
  }
}

function namesAt(port: number, backends: Iterable<ResolvedBackend>): readonly string[] {
  const names = Array.from(backends, ({ hosts, ports, upstream }) => [
    ...(ports.includes(port) ? hosts : []),
    ...(upstream.port === port ? [upstream.host] : []),
  ]).flat();
  return [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => isIP(name) === 0);
}

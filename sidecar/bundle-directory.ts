import { watch, type FSWatcher } from 'node:fs';
import type { JWK } from 'jose';
import type { Workload } from '#core/identity/principal.ts';
import type { ResourceProblem } from '#core/control.ts';
import {
  resolve,
  type Bundle,
  type ProviderKeys,
  type ResolvedProvider,
} from '#core/policy/resolve.ts';
import type { Address } from '../runtime/settings.ts';
import { fetchKeys } from './issuer-keys.ts';
import { readResourceFiles } from './resource-files.ts';

export interface BundleDirectoryOptions {
  readonly directory: string;
  readonly workload: Workload;
  readonly connectTo: ReadonlyMap<string, Address>;
  /** Credentials that a Backend may name. */
  readonly secretNames: ReadonlySet<string>;
  readonly onBundle: (bundle: Bundle) => void;
  /** The bundle before stays in force. */
  readonly onRefused: (problems: readonly ResourceProblem[]) => void;
  readonly signal: AbortSignal;
}

const settleMs = 100; // editors write a file in several steps
const pollMs = 2_000; // for what a watch does not see: a replaced directory, a network file system
const keysMaxAgeMs = 10 * 60_000;
const retryKeysMs = 5_000;
const refreshMs = 60_000; // an unknown key is looked for at most once a minute a provider

/** Keys of one provider, and when they were last asked for. */
interface KeyEntry {
  keys: readonly JWK[];
  triedMs: number;
  ok: boolean;
}

/** Watches a directory of resources and delivers a bundle whenever what it says has changed and holds together. */
export class BundleDirectory {
  readonly #options: BundleDirectoryOptions;
  readonly #keys = new Map<string, KeyEntry>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading = false;
  #again = false;
  #bundle: Bundle | undefined;
  #lastSaid = '';

  constructor(options: BundleDirectoryOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#stop(), { once: true });
    this.#watch();
    this.#schedule(0);
  }

  /** Fetches a provider's keys anew, at most once a minute. Returns all providers, or undefined when it was too soon. */
  async refreshKeys(name: string): Promise<readonly ProviderKeys[] | undefined> {
    const provider = this.#bundle?.providers.find((candidate) => candidate.name === name);
    if (!provider || Date.now() - (this.#keys.get(keyOf(provider))?.triedMs ?? 0) < refreshMs)
      return undefined;
    await this.#fetch(provider);
    this.#deliver();
    return this.#bundle?.providers;
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#options.directory, () => this.#schedule(settleMs));
      this.#watcher.on('error', () => this.#unwatch());
    } catch {
      this.#watcher = undefined; // the poll tries again, and says what is wrong with the directory
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#options.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#read(), delayMs);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#unwatch();
  }

  // Never rejects: mistakes are reported as problems, and keys that cannot be fetched are tried again.
  async #read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    if (!this.#watcher) this.#watch();
    const { resources, problems } = await readResourceFiles(this.#options.directory);
    if (problems.length > 0) this.#refuse(problems);
    else {
      const { workload, secretNames } = this.#options;
      const resolved = resolve(
        resources.map(({ resource }) => resource),
        workload,
        secretNames,
      );
      if (resolved.bundle) await this.#accept(resolved.bundle);
      else {
        this.#refuse(
          resolved.problems.flatMap(
            (problem) => resources[problem.resource]?.locate(problem) ?? [],
          ),
        );
      }
    }
    this.#reading = false;
    const again = this.#again;
    this.#again = false;
    this.#schedule(again ? settleMs : pollMs);
  }

  #refuse(problems: readonly ResourceProblem[]): void {
    const said = JSON.stringify(problems);
    if (said === this.#lastSaid || this.#options.signal.aborted) return;
    this.#lastSaid = said;
    this.#options.onRefused(problems);
  }

  async #accept(bundle: Bundle): Promise<void> {
    await Promise.all(
      bundle.providers
        .filter((provider) => this.#isDue(provider))
        .map((provider) => this.#fetch(provider)),
    );
    this.#bundle = bundle;
    this.#deliver();
  }

  #isDue(provider: ResolvedProvider): boolean {
    const entry = this.#keys.get(keyOf(provider));
    if (!entry) return true;
    return Date.now() - entry.triedMs > (entry.ok ? keysMaxAgeMs : retryKeysMs);
  }

  async #fetch(provider: ResolvedProvider): Promise<void> {
    const before = this.#keys.get(keyOf(provider));
    const entry: KeyEntry = { keys: before?.keys ?? [], triedMs: Date.now(), ok: false };
    this.#keys.set(keyOf(provider), entry);
    try {
      entry.keys = await fetchKeys(provider, this.#options.connectTo);
      entry.ok = true;
    } catch {
      // Without keys the provider's tokens are refused; the next poll tries again.
    }
  }

  /** Delivers the bundle with the keys that are known, if either has changed. */
  #deliver(): void {
    if (!this.#bundle || this.#options.signal.aborted) return;
    const { providers } = this.#bundle;
    const withKeys = providers.map((provider) => ({
      ...provider,
      keys: this.#keys.get(keyOf(provider))?.keys ?? [],
    }));
    const said = JSON.stringify([this.#bundle.revision, withKeys]);
    if (said === this.#lastSaid) return;
    this.#lastSaid = said;
    this.#bundle = { ...this.#bundle, providers: withKeys };
    this.#options.onBundle(this.#bundle);
  }
}

function keyOf({ name, issuer, jwksUri }: ResolvedProvider): string {
  return JSON.stringify([name, issuer, jwksUri]);
}

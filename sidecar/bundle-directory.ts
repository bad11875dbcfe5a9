import { hash } from 'node:crypto';
import { statSync, watch, type FSWatcher } from 'node:fs';
import type { Workload } from '#core/identity/principal.ts';
import type { ResourceProblem } from '#core/control.ts';
import { resolve, type Bundle, type ProviderKeys } from '#core/policy/resolve.ts';
import type { CredentialRef } from '#core/policy/resources.ts';
import type { Address } from '../runtime/settings.ts';
import { fetchKeys } from '../runtime/issuer-keys.ts';
import { KeyRefresh } from '../runtime/key-refresh.ts';
import { parseResourceFiles, readResourceFiles, type DirectoryContent } from './resource-files.ts';

export interface BundleDirectoryOptions {
  readonly directory: string;
  readonly workload: Workload;
  readonly connectTo: ReadonlyMap<string, Address>;
  /** Credentials that a Backend may name. */
  readonly credentials: ReadonlyMap<string, CredentialRef['type']>;
  readonly onBundle: (bundle: Bundle) => void;
  /** The bundle before stays in force. */
  readonly onRefused: (problems: readonly ResourceProblem[]) => void;
  /** An issuer's keys could not be fetched: its last ones stay, and are tried again. */
  readonly onKeysFailed?: (provider: string, error: unknown) => void;
  readonly signal: AbortSignal;
}

const settleMs = 100; // editors write a file in several steps
const pollMs = 2_000; // for what a watch does not see: a replaced directory, a network file system
const maxKeyWaitMs = 500; // an edit that forbids something does not wait for an issuer that is slow
const maxProblems = 100; // at once; the next are said when these are mended

/** Watches a directory of resources and delivers a bundle whenever what it says has changed and holds together. */
export class BundleDirectory {
  readonly #options: BundleDirectoryOptions;
  readonly #keys: KeyRefresh;
  #watcher: { readonly watch: FSWatcher; readonly inode: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading = false;
  #again = false;
  /** Digests of what was read last, and of what was judged last. */
  #seen: string | undefined;
  #judged: string | undefined;
  #bundle: Bundle | undefined;
  #delivered = '';
  #refused = '';

  constructor(options: BundleDirectoryOptions) {
    this.#options = options;
    const { connectTo, signal } = options;
    this.#keys = new KeyRefresh({
      fetch: (provider, stopped) => fetchKeys(provider, connectTo, stopped),
      onKeys: () => this.#deliver(),
      onFailure: (provider, error) => options.onKeysFailed?.(provider, error),
      nowMs: () => performance.now(),
      signal,
    });
    signal.addEventListener('abort', () => this.#stop(), { once: true });
    this.#schedule(0);
  }

  /** Fetches a provider's keys anew, at most once a minute. Returns all providers, or undefined when it was too soon. */
  async refreshKeys(name: string): Promise<readonly ProviderKeys[] | undefined> {
    const provider = this.#bundle?.providers.find((candidate) => candidate.name === name);
    if (!provider || !(await this.#keys.refresh(provider))) return undefined;
    return this.#bundle?.providers;
  }

  /** Watches the directory that has the name now: a watch stays with one that was moved away. */
  #watch(): void {
    try {
      const { dev, ino } = statSync(this.#options.directory);
      const inode = `${dev}:${ino}`;
      if (this.#watcher?.inode === inode) return;
      this.#unwatch();
      const watcher = watch(this.#options.directory, () => this.#schedule(settleMs));
      watcher.on('error', () => this.#unwatch());
      this.#watcher = { watch: watcher, inode };
    } catch {
      this.#unwatch(); // reading says what is wrong with the directory, and the poll tries again
    }
  }

  #unwatch(): void {
    this.#watcher?.watch.close();
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

  // Never rejects: mistakes are reported as problems.
  async #read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    this.#watch();
    const content = await readResourceFiles(this.#options.directory);
    const settled = await this.#judgeSettled(content);
    const soon = this.#again || !settled;
    this.#reading = false;
    this.#again = false;
    this.#schedule(soon ? settleMs : pollMs);
  }

  /**
   * Judges what two readings in a row agree on: one alone may have met a file that was emptied to be written, and an
   * empty file means that no policy selects the pod. Returns whether they agree.
   */
  async #judgeSettled(content: DirectoryContent): Promise<boolean> {
    const digest = hash('sha256', JSON.stringify(content), 'hex');
    const settled = this.#seen === undefined || this.#seen === digest;
    this.#seen = digest;
    if (!settled || this.#judged === digest || this.#options.signal.aborted) return settled;
    this.#judged = digest;
    await this.#judge(content);
    return true;
  }

  async #judge({ files, problems: unread }: DirectoryContent): Promise<void> {
    const { resources, problems } = parseResourceFiles(files);
    if (unread.length + problems.length > 0) return this.#refuse([...unread, ...problems]);
    const { workload, credentials } = this.#options;
    const resolved = resolve(
      resources.map(({ resource }) => resource),
      workload,
      credentials,
    );
    if (resolved.bundle) return this.#accept(resolved.bundle);
    return this.#refuse(
      resolved.problems.flatMap((problem) => resources[problem.resource]?.locate(problem) ?? []),
    );
  }

  #refuse(problems: readonly ResourceProblem[]): void {
    const said = JSON.stringify(problems);
    if (said === this.#refused || this.#options.signal.aborted) return;
    this.#refused = said;
    this.#options.onRefused(problems.slice(0, maxProblems));
  }

  async #accept(bundle: Bundle): Promise<void> {
    const tried = this.#keys.track(bundle.providers);
    await (this.#bundle ? Promise.race([tried, atMost(maxKeyWaitMs)]) : tried);
    this.#keys.retain(bundle.providers);
    this.#bundle = bundle;
    if (this.#refused !== '') this.#delivered = ''; // say that what was refused is mended, were it as before
    this.#refused = '';
    this.#deliver();
  }

  /** Delivers the bundle with the keys that are known, if either has changed. */
  #deliver(): void {
    if (!this.#bundle || this.#options.signal.aborted) return;
    const providers = this.#bundle.providers.map((provider) => ({
      ...provider,
      keys: this.#keys.keysOf(provider),
    }));
    const said = JSON.stringify([this.#bundle.revision, providers]);
    if (said === this.#delivered) return;
    this.#delivered = said;
    this.#bundle = { ...this.#bundle, providers };
    this.#options.onBundle(this.#bundle);
  }
}

function atMost(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms).unref());
}

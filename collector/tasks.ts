import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import type { CollectorConfig } from './config.ts';
import { announceFindings } from './findings.ts';
import { LedgerFile } from './ledger-file.ts';
import type { Metrics } from './metrics.ts';
import { Repeating } from './repeating.ts';
import { Shaping } from './shapes/shaping.ts';
import type { Database } from './store/database.ts';
import { findUnfinished, recordFindings, resolveFinished, type Finding } from './store/findings.ts';
import { Heads } from './store/ledger.ts';
import { dropExpired } from './store/retention.ts';
import type { Text } from './store/texts.ts';

export interface TaskOptions {
  readonly config: CollectorConfig;
  readonly database: Database;
  readonly key: KeyObject;
  readonly metrics: Metrics;
  readonly log: Logger;
}

const retentionEveryMs = 10_000;
const shapesEveryMs = 1_000;
const daySeconds = 86_400;

/** What the collector does by itself, beside answering: heads to the ledger and its copy, silent streams, retention, shapes. */
export class Tasks {
  readonly heads = new Heads();
  readonly #options: TaskOptions;
  readonly #file: LedgerFile | undefined;
  readonly #copy: Repeating;
  readonly #shaping: Shaping;
  readonly #others: readonly Repeating[];

  constructor(options: TaskOptions) {
    this.#options = options;
    const { config, database, log } = options;
    const ledgerMs = config.ledgerSeconds * 1_000;
    if (config.ledgerFile !== '') this.#file = new LedgerFile(config.ledgerFile, database);
    const every = (name: string, everyMs: number, work: () => Promise<void>): Repeating =>
      new Repeating({ name, everyMs, work, log, ready: () => database.ready });
    this.#shaping = new Shaping(database);
    this.#copy = every('the copy of the ledger', ledgerMs, () => this.#copyLedger());
    this.#others = [
      every('heads for the ledger', ledgerMs, () => this.#writeHeads()),
      every('silent streams', watchMs(config.streamSilentSeconds), () => this.#watchStreams()),
      every('retention', retentionEveryMs, () => this.#retain()),
      every('shapes of texts', shapesEveryMs, () => this.#shaping.work()),
    ];
  }

  /** Copies what was just added to the ledger. */
  readonly onLedgered = (): void => this.#copy.nudge();

  /** Takes texts that are new in the store. */
  readonly onTexts = (texts: readonly Text[]): void => this.#shaping.note(texts);

  /** Ends what is under way, and puts the heads on record a last time. */
  async stop(): Promise<void> {
    this.#shaping.end();
    await Promise.all([...this.#others, this.#copy].map((task) => task.stop()));
    await this.#shaping.stop();
    await this.#writeHeads();
    await this.#copyLedger();
  }

  async #writeHeads(): Promise<void> {
    const { database, key } = this.#options;
    if ((await this.heads.write(database, key)) > 0) this.#copy.nudge();
  }

  async #copyLedger(): Promise<void> {
    if (!this.#file) return;
    const { database, metrics } = this.#options;
    const finding = await this.#file.copy().finally(() => {
      if (this.#file?.changed === true) metrics.ledgerFileChanged.set(1);
    });
    if (!finding) return;
    this.#announce(await database.transaction((client) => recordFindings(client, [finding])));
    this.#file.reported();
  }

  async #watchStreams(): Promise<void> {
    const { config, database } = this.#options;
    this.#announce(
      await database.transaction((client) => findUnfinished(client, config.streamSilentSeconds)),
    );
    await database.transaction(resolveFinished);
  }

  async #retain(): Promise<void> {
    const { config, database, key, log } = this.#options;
    await database.preparePartitions(); // two days ahead: there is time to notice that it fails
    if (config.retentionDays === 0) return;
    const { dropped, left } = await dropExpired(database, key, config.retentionDays * daySeconds);
    if (left === 'locked' || left === 'grown')
      log.info({ why: left }, 'a partition is dropped later');
    if (dropped.length === 0) return;
    this.#copy.nudge();
    log.info({ partitions: dropped.length }, 'retention dropped what is too old');
  }

  #announce(findings: readonly Finding[]): void {
    announceFindings(findings, this.#options);
  }
}

/** Often enough that a silence is found within a quarter of the time that it is tolerated. */
function watchMs(silentSeconds: number): number {
  return Math.min(30_000, Math.max(1_000, silentSeconds * 250));
}

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TestInstance } from '../support/instance.ts';
import { pssOf } from '../support/inspector.ts';

const everyMs = 200;

/** What can only be seen while it goes on: memory, and what the collector says to have. */
export class Watch implements AsyncDisposable {
  /** Most memory of any process that was one of these, in bytes. */
  readonly peak = { sidecar: 0, collector: 0 };
  /** Highest acknowledged seq that was ever seen, by stream. */
  readonly acknowledged = new Map<string, number>();
  /** Streams of which the collector once said to have less than before. */
  readonly receded = new Set<string>();
  readonly #instance: TestInstance;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(instance: TestInstance) {
    this.#instance = instance;
    this.#done = Promise.all([this.#watchMemory(), this.#watchStreams()]);
  }

  /** How many records the collector has acknowledged, of all streams. */
  get records(): number {
    return [...this.acknowledged.values()].reduce((sum, seq) => sum + seq, 0);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #watchMemory(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const { pids } = this.#instance.instance;
      for (const part of ['sidecar', 'collector'] as const)
        this.peak[part] = Math.max(this.peak[part], tryPss(pids[part]));
      await delay(everyMs);
    }
  }

  async #watchStreams(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const collector = this.#instance.collector();
      for (const stream of streamsIn(this.#instance.instance.sidecar.spoolDir)) {
        const answer = await collector
          .json<{ ackedSeq: number }>(`/v1/streams/${stream}`)
          .catch(() => undefined); // it does not know the stream yet, or is away: that is the test
        if (!answer) continue;
        const before = this.acknowledged.get(stream) ?? 0;
        if (answer.ackedSeq < before) this.receded.add(stream);
        this.acknowledged.set(stream, Math.max(before, answer.ackedSeq));
      }
      await delay(everyMs);
    }
  }
}

function tryPss(pid: number): number {
  try {
    return pssOf(pid);
  } catch {
    return 0; // it was just killed
  }
}

const uuid = /^[0-9a-f-]{36}$/;

/** Streams of which something is in the spool, or was until just now. */
function streamsIn(spool: string): string[] {
  return readdirSync(spool).filter((name) => uuid.test(name));
}

/** Files of records in the spool, by stream. */
export function segmentsIn(spool: string): Map<string, string[]> {
  return new Map(
    streamsIn(spool)
      .map((stream): [string, string[]] => [stream, tryList(join(spool, stream))])
      .filter(([, names]) => names.length > 0),
  );
}

function tryList(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => /^\d{16}\./.test(name));
  } catch {
    return []; // it has just been shipped
  }
}

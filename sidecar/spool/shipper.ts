import { closeSync, fdatasyncSync, openSync, rmSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { isAcknowledged } from '#core/record/acknowledgement.ts';
import type { Acknowledged, Answer, Collector } from './collector.ts';
import { headPath, keepBallast, writeHead } from './head.ts';
import type { FromWorker, Trouble } from './messages.ts';
import { batchBytes, readBatch, type Batch, type Shipment } from './shipment.ts';
import type { Waiter } from './waiter.ts';

export interface ShipperOptions {
  readonly directory: string;
  readonly own: Shipment;
  readonly leftovers: readonly Shipment[];
  /** Earlier streams that are shipped, with nothing but their head left. */
  readonly shipped: readonly string[];
  readonly collector: Collector;
  readonly collectorKey: KeyObject | undefined;
  readonly waiter: Waiter;
  readonly say: (message: FromWorker) => void;
  /** Whether nothing more comes to the own stream. */
  readonly complete: () => boolean;
}

const firstBackoffMs = 100;
const maxBackoffMs = 5_000;
const maxSpoolFaults = 10; // a disk that is full may have room again; one that is broken must not keep all else from being shipped
const compress = promisify(zstdCompress);

/**
 * What the collector has is to be on the disk as well: a machine that loses its power in between would come back with
 * less, and give the seqs of what is missing to other records.
 */
function syncSegment(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Sends the spool to the collector and deletes what the collector has committed: leftovers of earlier processes first,
 * then this process's stream. Nothing is deleted on any other answer.
 */
export class Shipper {
  readonly #options: ShipperOptions;
  readonly #buffer = Buffer.allocUnsafeSlow(batchBytes);
  readonly #leftovers: Shipment[];
  /** Earlier streams, until all that is left of them can go. */
  readonly #shipped: string[];
  #backoffMs = firstBackoffMs;
  #spoolFaults = 0;

  constructor(options: ShipperOptions) {
    this.#options = options;
    this.#shipped = [...options.shipped];
    this.#leftovers = [...options.leftovers];
  }

  /** Adds a leftover of an earlier process; nothing of our own stream may be there yet. */
  add(leftover: Shipment): void {
    this.#leftovers.push(leftover);
  }

  /** Ships until it is stopped, or until a closed stream is shipped. Returns the streams of which something is left. */
  async run(): Promise<readonly string[]> {
    const { own, waiter, complete } = this.#options;
    const left = await this.#shipLeftovers();
    while (!waiter.stopped) {
      left.push(...(await this.#shipLeftovers()));
      const step = await this.#step(own);
      if (step === 'on') continue;
      if (step === 'stuck')
        await this.#backOff(); // what is refused now may be taken later; nothing may pass it
      else if (own.empty && complete()) break;
      else await waiter.untilWalked();
    }
    return own.empty ? left : [...left, own.stream];
  }

  /** Returns those of which something is left. */
  async #shipLeftovers(): Promise<string[]> {
    const left: string[] = [];
    for (let next = this.#leftovers.shift(); next; next = this.#leftovers.shift()) {
      while ((await this.#step(next)) === 'on');
      if (next.empty) this.#shipped.push(next.stream);
      else left.push(next.stream); // refused, or stopped: kept for the operator, or the next start
    }
    return left;
  }

  /** Does the next thing for a stream: `idle` when there is none, `stuck` when trying again at once does not help. */
  async #step(shipment: Shipment): Promise<'on' | 'idle' | 'stuck'> {
    try {
      if (this.#deleteDone(shipment)) {
        this.#spoolFaults = 0;
        return 'on';
      }
      const batch = this.#options.waiter.stopped ? undefined : shipment.take();
      if (!batch) return 'idle';
      const answer = await this.#send(batch);
      const trouble = this.#take(shipment, batch, answer);
      if (trouble) return await this.#struggle(shipment, trouble);
      this.#backoffMs = firstBackoffMs;
      return 'on';
    } catch (error) {
      const { message } = error instanceof Error ? error : new Error('unknown');
      const { stream } = shipment;
      return this.#struggle(shipment, { kind: 'spool', stream, error: message });
    }
  }

  async #struggle(shipment: Shipment, trouble: Trouble): Promise<'on' | 'stuck'> {
    shipment.retry();
    if (this.#options.waiter.stopped) return 'stuck'; // it was us who broke off
    this.#options.say({ type: 'trouble', trouble });
    if (trouble.kind === 'quarantined') return 'on';
    this.#spoolFaults = trouble.kind === 'spool' ? this.#spoolFaults + 1 : 0;
    const mayPass =
      trouble.kind === 'unavailable' ||
      trouble.kind === 'behind' ||
      (trouble.kind === 'spool' && this.#spoolFaults < maxSpoolFaults);
    if (!mayPass) return 'stuck';
    await this.#backOff();
    return 'on';
  }

  async #backOff(): Promise<void> {
    await this.#options.waiter.pause(this.#backoffMs);
    this.#backoffMs = Math.min(this.#backoffMs * 2, maxBackoffMs);
  }

  async #send(batch: Batch): Promise<Answer> {
    syncSegment(batch.path);
    const bytes = readBatch(batch, this.#buffer);
    const params = { [constants.ZSTD_c_compressionLevel]: 1 };
    const body = await compress(bytes, { params });
    return this.#options.collector.post(body, this.#options.waiter.signal);
  }

  /** Takes an answer. Returns what is wrong with it. */
  #take(shipment: Shipment, batch: Batch, answer: Answer): Trouble | undefined {
    const { stream } = shipment;
    switch (answer.kind) {
      case 'committed': {
        const { acknowledged } = answer;
        const fault = this.#faultOf(shipment, acknowledged);
        if (fault) return fault;
        if (acknowledged.seq < batch.lastSeq) return this.#goBack(shipment, acknowledged.seq);
        this.#done(shipment, acknowledged.seq, false);
        return undefined;
      }
      case 'quarantined': {
        const { acknowledged } = answer;
        const fault = this.#faultOf(shipment, acknowledged);
        if (fault) return fault;
        const from = Math.max(batch.firstSeq, acknowledged.seq + 1);
        this.#done(shipment, Math.max(batch.lastSeq, acknowledged.seq), from <= batch.lastSeq);
        return from > batch.lastSeq
          ? undefined
          : { kind: 'quarantined', stream, from, to: batch.lastSeq };
      }
      case 'gap':
        return this.#goBack(shipment, answer.seq);
      case 'refused':
        return { kind: 'refused', stream, status: answer.status };
      case 'unavailable':
        return { ...answer, stream };
    }
  }

  #goBack(shipment: Shipment, ackedSeq: number): Trouble {
    const { stream } = shipment;
    return { kind: shipment.goBack(ackedSeq) ? 'behind' : 'refused', stream, ackedSeq };
  }

  #done(shipment: Shipment, seq: number, aside: boolean): void {
    const records = shipment.done(seq);
    const own = shipment === this.#options.own;
    this.#options.say({ type: 'committed', records, seq: own ? shipment.doneSeq : undefined, aside }); // prettier-ignore
    if (own && shipment.doneSeq > 0) this.#forgetShipped();
  }

  /** Whether an acknowledgement may be believed: signed by the collector, and about the records that were sent. */
  #faultOf(shipment: Shipment, acknowledged: Acknowledged): Trouble | undefined {
    const { collectorKey } = this.#options;
    const { stream, seq, link, signature = '' } = acknowledged;
    const fault = (why: Extract<Trouble, { kind: 'not-acknowledged' }>['why']): Trouble => ({
      kind: 'not-acknowledged',
      stream: shipment.stream,
      seq,
      why,
    });
    if (stream !== shipment.stream) return fault('stream');
    if (collectorKey && !isAcknowledged(collectorKey, { stream, seq, link, signature }))
      return fault('signature');
    if (seq > shipment.lastSeq) return fault('unwritten');
    const own = shipment.linkAt(seq);
    if (own !== undefined && link !== undefined && own !== link) return fault('link');
    return undefined;
  }

  /** Deletes the first segment if all of it is committed, once the stream's head says how it stood at its end. */
  #deleteDone(shipment: Shipment): boolean {
    const end = shipment.firstDone();
    if (!end) return false;
    writeHead(this.#options.directory, end.head);
    rmSync(end.path, { force: true });
    keepBallast(this.#options.directory);
    shipment.dropFirst();
    this.#options.say({ type: 'deleted', bytes: end.bytes });
    return true;
  }

  /** The collector has the record that names the streams before this one: nothing of them is needed any more. */
  #forgetShipped(): void {
    for (const stream of this.#shipped.splice(0)) {
      const path = headPath(this.#options.directory, stream);
      rmSync(path, { force: true });
      try {
        rmdirSync(dirname(path));
      } catch {
        // Something was kept there for whoever finds out what happened.
      }
    }
  }
}

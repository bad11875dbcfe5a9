import { Agent, request } from 'node:https';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import type { Logger } from 'pino';
import type { Leftover } from './recover.ts';
import { deleteSegment, type Segment } from './segment.ts';
import type { SpoolWriter } from './writer.ts';

export interface ShipperOptions {
  readonly writer: SpoolWriter;
  readonly leftovers: readonly Leftover[];
  readonly collector: { readonly url: URL; readonly ca: string };
  readonly token: string;
  readonly log: Logger;
  readonly onShipped: (records: number) => void;
  readonly onFailure: () => void;
}

/** What the collector answered to a batch. */
type Answer =
  | { readonly kind: 'committed'; readonly seq: number }
  /** The collector has records up to `seq` and misses what comes after. */
  | { readonly kind: 'gap'; readonly seq: number }
  /** This batch will not be taken, however often it is sent. */
  | { readonly kind: 'refused'; readonly status: number }
  | { readonly kind: 'unavailable'; readonly status: number };

/** Where the next batch of a stream begins. */
interface Cursor {
  segment: Segment;
  offset: number;
  nextSeq: number;
}

const batchBytes = 2 * 1024 * 1024;
const lingerMs = 50; // lets a batch fill: a request a record would cost more than the record
const firstBackoffMs = 100;
const maxBackoffMs = 5_000;
const answerTimeoutMs = 30_000;
const compress = promisify(zstdCompress);

/**
 * Sends the spool to the collector and deletes what the collector has committed: leftovers of earlier processes first,
 * then this process's stream. Nothing is deleted on any other answer.
 */
export class Shipper {
  readonly #options: ShipperOptions;
  readonly #agent: Agent;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;
  /** Streams of earlier processes of which something is still on disk. */
  readonly #left: Set<string>;
  #wake: (() => void) | undefined;
  #interrupt: (() => void) | undefined;
  #draining = false;

  constructor(options: ShipperOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, ca: options.collector.ca });
    this.#left = new Set(options.leftovers.map(({ stream }) => stream));
    this.#done = this.#run();
  }

  /** Says that there is something to ship. */
  nudge(): void {
    this.#wake?.();
  }

  /**
   * Ships the rest of a closed spool, for at most `timeoutMs`, then stops. Returns the streams of which something is left
   * in the spool: not shipped in time, or refused by the collector.
   */
  async stop(timeoutMs: number): Promise<readonly string[]> {
    this.#draining = true;
    this.nudge();
    const timer = setTimeout(() => {
      this.#stopping.abort();
      this.#interrupt?.();
    }, timeoutMs);
    await this.#done;
    clearTimeout(timer);
    this.#agent.destroy();
    const { segments, stream } = this.#options.writer;
    return segments.length === 0 ? [...this.#left] : [...this.#left, stream];
  }

  async #run(): Promise<void> {
    for (const leftover of this.#options.leftovers) await this.#shipLeftover(leftover);
    while (!this.#stopping.signal.aborted) {
      const segment = this.#options.writer.segments[0];
      if (segment && segment.lastSeq >= segment.firstSeq) await this.#shipOwn(segment);
      else if (segment?.closed) await this.#drop(segment);
      else if (this.#draining) return;
      else await this.#sleep();
    }
  }

  async #shipLeftover({ stream, segments }: Leftover): Promise<void> {
    for (const segment of segments) {
      const shipped = await this.#shipSegment(segment, () => false);
      if (!shipped) return; // stopping, or refused: kept on disk for the operator
      await this.#drop(segment);
    }
    this.#left.delete(stream);
  }

  async #shipOwn(segment: Segment): Promise<void> {
    if (await this.#shipSegment(segment, () => !segment.closed)) await this.#drop(segment);
  }

  async #drop(segment: Segment): Promise<void> {
    this.#options.writer.forget(segment);
    await deleteSegment(segment);
  }

  /** Ships a segment to its end, waiting for more as long as `growing` says so. Returns false when it has to stop. */
  async #shipSegment(segment: Segment, growing: () => boolean): Promise<boolean> {
    const cursor: Cursor = { segment, offset: 0, nextSeq: segment.firstSeq };
    let backoffMs = firstBackoffMs;
    while (!this.#stopping.signal.aborted) {
      if (cursor.offset >= segment.bytes) {
        if (!growing()) return true;
        await this.#sleep();
        if (!this.#draining) await this.#sleep(lingerMs);
        continue;
      }
      const answer = await this.#shipBatch(cursor);
      if (answer.kind === 'committed') {
        backoffMs = firstBackoffMs;
        continue;
      }
      this.#options.onFailure();
      if (answer.kind === 'gap' && answer.seq >= segment.firstSeq && answer.seq < cursor.nextSeq) {
        Object.assign(cursor, { offset: 0, nextSeq: segment.firstSeq }); // resent records are recognised
      } else if (answer.kind !== 'unavailable') {
        this.#options.log.error(
          { answer, stream: segment.stream },
          'the collector refuses a batch',
        );
        if (segment.stream !== this.#options.writer.stream) return false;
      }
      await this.#sleep(backoffMs);
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
    }
    return false;
  }

  async #shipBatch(cursor: Cursor): Promise<Answer> {
    const { bytes, records } = await readBatch(cursor);
    const body = await compress(bytes, {
      params: { [constants.ZSTD_c_compressionLevel]: 1 },
    });
    const answer = await this.#post(body);
    if (answer.kind === 'committed') {
      if (answer.seq < cursor.nextSeq + records - 1) return { kind: 'gap', seq: answer.seq };
      cursor.offset += bytes.length;
      cursor.nextSeq += records;
      this.#options.onShipped(records);
    }
    return answer;
  }

  async #post(body: Buffer): Promise<Answer> {
    const url = new URL('/v1/records', this.#options.collector.url);
    try {
      const { status, text } = await this.#exchange(url, body);
      if (status === 200) return { kind: 'committed', seq: readSeq(text, 'seq') };
      if (status === 409) return { kind: 'gap', seq: readSeq(text, 'ackedSeq') };
      if (status === 403 || status === 413 || status === 422) return { kind: 'refused', status };
      return { kind: 'unavailable', status };
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the collector cannot be reached');
      return { kind: 'unavailable', status: 0 };
    }
  }

  #exchange(url: URL, body: Buffer): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        url,
        {
          method: 'POST',
          agent: this.#agent,
          timeout: answerTimeoutMs,
          signal: this.#stopping.signal,
          headers: {
            authorization: `Bearer ${this.#options.token}`,
            'content-type': 'application/vnd.chaperone.frames',
            'content-encoding': 'zstd',
            'content-length': body.length,
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (piece: string) => {
            if (text.length < 65_536) text += piece;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
          response.on('error', reject);
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  /** Waits `ms`, or for a nudge when no time is given; a stop ends either. */
  async #sleep(ms?: number): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
    if (ms === undefined) this.#wake = resolve;
    this.#interrupt = resolve;
    await promise;
    clearTimeout(timer);
    this.#wake = undefined;
  }
}

/** Reads whole frames from a segment, up to about `batchBytes`. */
async function readBatch(cursor: Cursor): Promise<{ bytes: Buffer; records: number }> {
  const file = await open(cursor.segment.path);
  try {
    const bytes = Buffer.allocUnsafe(Math.min(batchBytes, cursor.segment.bytes - cursor.offset));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, cursor.offset);
    let end = 0;
    let records = 0;
    while (end + 4 <= bytesRead) {
      const next = end + 8 + bytes.readUInt32BE(end);
      if (next > bytesRead) break;
      end = next;
      records += 1;
    }
    if (records === 0) throw new Error('the spool holds a record larger than a batch');
    return { bytes: bytes.subarray(0, end), records };
  } finally {
    await file.close();
  }
}

function readSeq(text: string, field: 'seq' | 'ackedSeq'): number {
  const answer: unknown = JSON.parse(text);
  const seq =
    typeof answer === 'object' && answer !== null ? Reflect.get(answer, field) : undefined;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq))
    throw new Error('no seq in the answer');
  return seq;
}

import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { maxLineBytes, pingMs, type StreamMessage } from '#core/bundle-message.ts';
import type { Built, Fault } from './bundles.ts';
import type { Metrics } from './metrics.ts';
import type { Acknowledged } from './status/acknowledged.ts';

/** The pod that a stream is for. */
export interface PodKey {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** What a pod is to be told now; undefined for one that is served no more. */
export type BundleFor = (pod: PodKey) => Built | undefined;

/** One sidecar that follows. */
interface Stream {
  readonly pod: PodKey;
  readonly response: ServerResponse;
  revision: string;
  /** What was wrong last with what it is to be told; said once. */
  noted: string;
  /** It reads more slowly than there is news; it gets the newest once it has read what it was sent. */
  behind: boolean;
}

/** Changes come in flocks: what is told waits for so long, and a policy is in force a second after it was applied. */
const settleMs = 50;
/** As long as orders are kept in the cluster. */
const keepKillsMs = 10 * 60_000;
/** A sidecar that has left so much unread is gone. */
const maxUnread = 2 * maxLineBytes;

export interface StreamsOptions {
  readonly bundleFor: BundleFor;
  readonly metrics: Metrics;
  /** Is told what each sidecar is sent. */
  readonly acknowledged: Acknowledged;
  readonly log: Logger;
}

/** Keeps all sidecars that follow this replica told. */
export class Streams {
  readonly #bundleFor: BundleFor;
  readonly #metrics: Metrics;
  readonly #acknowledged: Acknowledged;
  readonly #log: Logger;
  readonly #streams = new Set<Stream>();
  readonly #pings: NodeJS.Timeout;
  /** Sessions that were to end, with the time. */
  readonly #kills = new Map<string, number>();
  #settling: NodeJS.Timeout | undefined;
  /** Pods of which something has changed, by `namespace/name`, and `namespace/` for all of one; undefined stands for all. */
  readonly #changed = new Set<string | undefined>();
  /** Those that are to be told, one in each turn of the event loop: others are served between them. */
  readonly #due = new Set<Stream>();
  #telling: NodeJS.Immediate | undefined;

  constructor({ bundleFor, metrics, acknowledged, log }: StreamsOptions) {
    this.#bundleFor = bundleFor;
    this.#metrics = metrics;
    this.#acknowledged = acknowledged;
    this.#log = log;
    this.#pings = setInterval(() => {
      for (const stream of this.#streams) this.#send(stream, lineOf({ type: 'ping' }));
    }, pingMs);
  }

  get size(): number {
    return this.#streams.size;
  }

  /**
   * Takes an answer over, and ends it at a time in milliseconds from now, when the pod's token expires. A pod has one
   * stream: the newest, or a token that was taken away could hold thousands.
   */
  add(pod: PodKey, response: ServerResponse, forMs: number): void {
    for (const other of this.#streams) if (other.pod.uid === pod.uid) other.response.end();
    const stream: Stream = { pod, response, revision: '', noted: '', behind: false };
    this.#streams.add(stream);
    this.#acknowledged.opened(pod.uid);
    response.writeHead(200, {
      'content-type': 'application/x-ndjson',
      'cache-control': 'no-store',
    });
    response.flushHeaders();
    const end = setTimeout(() => response.end(), forMs);
    response.on('error', () => response.destroy());
    response.on('close', () => {
      clearTimeout(end);
      this.#streams.delete(stream);
      this.#acknowledged.left(pod.uid);
    });
    response.on('drain', () => {
      if (stream.behind) this.#tell(stream);
    });
    // It may have been between two streams when they were ordered.
    for (const [session, ordered] of this.#kills)
      if (performance.now() - ordered < keepKillsMs)
        this.#send(stream, lineOf({ type: 'kill', session })); // prettier-ignore
      else this.#kills.delete(session);
    this.#tell(stream);
  }

  /** Something has changed that bundles are made of: of a pod, by `namespace/name`, of a namespace, by `namespace/`, or of any. */
  changed(of?: string): void {
    this.#changed.add(of);
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      const changed = new Set(this.#changed);
      this.#changed.clear();
      for (const stream of this.#streams) {
        const { namespace, name } = stream.pod;
        const isNews = [undefined, `${namespace}/`, `${namespace}/${name}`].some((key) => changed.has(key)); // prettier-ignore
        if (isNews) this.#due.add(stream);
      }
      this.#telling ??= setImmediate(() => this.#tellNext());
    }, settleMs);
  }

  #tellNext(): void {
    const [stream] = this.#due;
    if (stream) {
      this.#due.delete(stream);
      if (this.#streams.has(stream)) this.#tell(stream);
    }
    this.#telling = this.#due.size > 0 ? setImmediate(() => this.#tellNext()) : undefined;
  }

  /** Tells every sidecar to end a session, if it has it. */
  kill(session: string): void {
    this.#kills.set(session, performance.now());
    for (const stream of this.#streams) this.#send(stream, lineOf({ type: 'kill', session }));
  }

  /** Ends all streams over a time, so that not all sidecars turn to the other replicas at once. */
  close(overMs: number): void {
    clearInterval(this.#pings);
    clearTimeout(this.#settling);
    clearImmediate(this.#telling);
    const streams = [...this.#streams];
    for (const [index, { response }] of streams.entries())
      setTimeout(() => response.end(), (overMs * index) / streams.length);
  }

  #tell(stream: Stream): void {
    const built = this.#bundleFor(stream.pod);
    if (!built) return void stream.response.end();
    if (built.kind === 'held') return this.#hold(stream, built.faults);
    const { message, parts, faults } = built;
    if (message.revision === stream.revision) return this.#standIn(stream, faults);
    stream.behind = stream.response.writableNeedDrain;
    if (stream.behind) return undefined;
    const line = lineOf(message);
    const bytes = Buffer.byteLength(line);
    if (bytes > maxLineBytes)
      return this.#hold(stream, [
        { resource: 'the bundle', text: `it has ${bytes} bytes, and a sidecar takes ${maxLineBytes}: have fewer or smaller policies` },
      ]); // prettier-ignore
    this.#standIn(stream, faults);
    stream.revision = message.revision;
    this.#acknowledged.sent(stream.pod.uid, message.revision, parts);
    this.#metrics.bundles.inc({ outcome: 'sent' });
    return this.#send(stream, line);
  }

  #hold(stream: Stream, faults: readonly Fault[]): void {
    if (!this.#note(stream, faults)) return;
    this.#metrics.bundles.inc({ outcome: 'held' });
    this.#log.warn({ ...podOf(stream), problems: stream.noted }, 'a bundle is held back: the pod keeps the one before'); // prettier-ignore
  }

  /** Some of its policies cannot be applied, and tighter ones stand in for them. */
  #standIn(stream: Stream, faults: readonly Fault[]): void {
    if (!this.#note(stream, faults) || faults.length === 0) return;
    this.#log.warn({ ...podOf(stream), problems: stream.noted }, 'policies of the namespace cannot be applied: the pod is told to refuse what they select'); // prettier-ignore
  }

  /** Returns whether this is news. */
  #note(stream: Stream, faults: readonly Fault[]): boolean {
    const texts = faults.map(({ resource, text }) => `${resource}: ${text}`);
    const noted = texts.join('; ').slice(0, 2_000);
    if (noted === stream.noted) return false;
    stream.noted = noted;
    this.#acknowledged.held(stream.pod.uid, faults.map(({ resource }) => resource)); // prettier-ignore
    return true;
  }

  #send({ response }: Stream, line: string): void {
    if (response.writableLength > maxUnread) response.destroy();
    else response.write(line);
  }
}

function lineOf(message: StreamMessage): string {
  return `${JSON.stringify(message)}\n`;
}

function podOf({ pod: { namespace, name } }: Stream): object {
  return { namespace, pod: name };
}

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
  /** What held its bundle back last, said once. */
  held: string;
  /** It reads more slowly than there is news; it gets the newest once it has read what it was sent. */
  behind: boolean;
}

/** Changes come in flocks: what is told waits for so long, and a policy is in force a second after it was applied. */
const settleMs = 50;
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
  #settling: NodeJS.Timeout | undefined;
  /** Pods of which something has changed, by `namespace/name`; undefined among them stands for all. */
  readonly #changed = new Set<string | undefined>();

  constructor({ bundleFor, metrics, acknowledged, log }: StreamsOptions) {
    this.#bundleFor = bundleFor;
    this.#metrics = metrics;
    this.#acknowledged = acknowledged;
    this.#log = log;
    this.#pings = setInterval(() => {
      for (const stream of this.#streams) this.#write(stream, { type: 'ping' });
    }, pingMs);
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Takes an answer over, and ends it at a time in milliseconds from now, when the pod's token expires. */
  add(pod: PodKey, response: ServerResponse, forMs: number): void {
    const stream: Stream = { pod, response, revision: '', held: '', behind: false };
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
    this.#tell(stream);
  }

  /** Something has changed that bundles are made of: of one pod, by `namespace/name`, or of any. */
  changed(pod?: string): void {
    this.#changed.add(pod);
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      const changed = new Set(this.#changed);
      this.#changed.clear();
      for (const stream of this.#streams) {
        const { namespace, name } = stream.pod;
        if (changed.has(undefined) || changed.has(`${namespace}/${name}`)) this.#tell(stream);
      }
    }, settleMs);
  }

  /** Tells every sidecar to end a session, if it has it. */
  kill(session: string): void {
    for (const stream of this.#streams) this.#write(stream, { type: 'kill', session });
  }

  /** Ends all streams over a time, so that not all sidecars turn to the other replicas at once. */
  close(overMs: number): void {
    clearInterval(this.#pings);
    clearTimeout(this.#settling);
    const streams = [...this.#streams];
    for (const [index, { response }] of streams.entries())
      setTimeout(() => response.end(), (overMs * index) / streams.length);
  }

  #tell(stream: Stream): void {
    const built = this.#bundleFor(stream.pod);
    if (!built) return void stream.response.end();
    if (built.kind === 'held') return this.#hold(stream, built.faults);
    stream.held = '';
    this.#acknowledged.held(stream.pod.uid, []);
    const { message, parts } = built;
    if (message.revision === stream.revision) return undefined;
    stream.behind = stream.response.writableNeedDrain;
    if (stream.behind) return undefined;
    stream.revision = message.revision;
    this.#acknowledged.sent(stream.pod.uid, message.revision, parts);
    this.#metrics.bundles.inc({ outcome: 'sent' });
    return this.#write(stream, message);
  }

  #hold(stream: Stream, faults: readonly Fault[]): void {
    const texts = faults.map(({ resource, text }) => `${resource}: ${text}`);
    const said = texts.join('; ').slice(0, 2_000);
    if (said === stream.held) return;
    stream.held = said;
    const { namespace, name: pod, uid } = stream.pod;
    this.#acknowledged.held(uid, faults.map(({ resource }) => resource)); // prettier-ignore
    this.#metrics.bundles.inc({ outcome: 'held' });
    this.#log.warn({ namespace, pod, problems: said }, 'a bundle is held back: the pod keeps the one before'); // prettier-ignore
  }

  #write({ response }: Stream, message: StreamMessage): void {
    if (response.writableLength > maxUnread) return void response.destroy();
    const line = `${JSON.stringify(message)}\n`;
    if (line.length <= maxLineBytes) response.write(line);
    else this.#log.error({ bytes: line.length }, 'a bundle is longer than a sidecar takes');
    return undefined;
  }
}

import { hash } from 'node:crypto';
import type { Logger } from 'pino';
import type { Cluster, EventBody } from './cluster.ts';
import type { Metrics } from './metrics.ts';
import type { Notice } from './review.ts';

const maxQueued = 256;
const maxMessageLength = 1_024; // the API takes no more

/** Tells owners of pods what became of them, beside the answers: best effort, and the newest is dropped when too many wait. */
export class Events {
  readonly #cluster: Cluster;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #waiting: Notice[] = [];
  #sending: Promise<void> | undefined;
  #closed = false;

  constructor({ cluster, metrics, log }: { cluster: Cluster; metrics: Metrics; log: Logger }) {
    this.#cluster = cluster;
    this.#metrics = metrics;
    this.#log = log;
  }

  /** Takes a notice to be sent, or drops it. */
  push(notice: Notice): void {
    if (this.#closed || this.#waiting.length >= maxQueued) {
      this.#metrics.events.inc({ outcome: 'dropped' });
      return;
    }
    this.#waiting.push(notice);
    this.#sending ??= this.#send();
  }

  /** Takes no more. Settles when what is being sent is settled; what still waits is dropped. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#metrics.events.inc({ outcome: 'dropped' }, this.#waiting.splice(0).length);
    await this.#sending;
  }

  async #send(): Promise<void> {
    for (let notice = this.#waiting.shift(); notice; notice = this.#waiting.shift()) {
      try {
        const isNew = await this.#cluster.createEvent(notice.namespace, eventOf(notice, new Date()));
        this.#metrics.events.inc({ outcome: isNew ? 'sent' : 'known' });
      } catch (error) {
        // Nobody depends on an Event: the pod was answered, and the metric says that one is missing.
        this.#metrics.events.inc({ outcome: 'failed' });
        this.#log.warn({ name: error instanceof Error ? error.name : 'unknown' }, 'an Event was not taken');
      } // prettier-ignore
    }
    this.#sending = undefined;
  }
}

/**
 * Makes the Event of a notice. Its name comes of what it says: a controller that tries the same pod a thousand times gets
 * one.
 */
export function eventOf({ namespace, owner, type, reason, message }: Notice, now: Date): EventBody {
  const said = hash('sha256', JSON.stringify([owner.uid, reason, message]), 'hex').slice(0, 16);
  const { apiVersion, kind, name, uid } = owner;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { namespace, name: `${name.slice(0, 200)}.${said}` },
    involvedObject: { apiVersion, kind, name, uid, namespace },
    type,
    reason,
    message: message.length > maxMessageLength ? `${message.slice(0, maxMessageLength - 1)}…` : message, // prettier-ignore
    source: { component: 'chaperone-webhook' },
    reportingComponent: 'chaperone.dev/webhook',
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
  };
}

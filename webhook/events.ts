import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Cluster, EventBody } from './cluster.ts';
import type { Metrics } from './metrics.ts';
import type { Notice } from './review.ts';

const maxQueued = 256;
const paceMs = 100; // whoever asks the webhook, the API server is asked no more often than that
const maxMessageLength = 1_024; // the API takes no more

/**
 * Tells owners of pods what became of them, beside the answers: best effort, and the newest is dropped when too many wait.
 * Anybody in the cluster can ask the webhook something. Only owners that are there under their uid are told: who knows
 * that can read them.
 */
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
        this.#metrics.events.inc({ outcome: await this.#tell(notice) });
      } catch (error) {
        // Nobody depends on an Event: the pod was answered, and the metric says that one is missing.
        this.#metrics.events.inc({ outcome: 'failed' });
        this.#log.warn({ name: error instanceof Error ? error.name : 'unknown' }, 'an Event was not taken');
      } // prettier-ignore
      if (!this.#closed) await delay(paceMs);
    }
    this.#sending = undefined;
  }

  async #tell(notice: Notice): Promise<'sent' | 'known' | 'no-owner'> {
    const { namespace, owner } = notice;
    if (!(await this.#cluster.isThere(namespace, owner))) return 'no-owner';
    const isNew = await this.#cluster.createEvent(namespace, eventOf(notice, new Date()));
    return isNew ? 'sent' : 'known';
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

import { createPublicKey } from 'node:crypto';
import { parentPort, type MessagePort } from 'node:worker_threads';
import { Collector } from './collector.ts';
import type { FromWorker, Leftover, ToWorker, WorkerStart } from './messages.ts';
import { Progress } from './progress.ts';
import { Shipment } from './shipment.ts';
import { Shipper } from './shipper.ts';
import { StreamWalk } from './stream-walk.ts';
import { Waiter } from './waiter.ts';

const lingerMs = 50; // lets a batch fill: a request a record would cost more than the record
const retryMs = 100;

/**
 * What is done behind the requests' path, in a thread of its own: the chain's links, the signatures of checkpoints, and
 * shipping.
 */
class SpoolWork {
  readonly #port: MessagePort;
  readonly #waiter = new Waiter();
  readonly #progress: Progress;
  readonly #own: Shipment;
  readonly #walk: StreamWalk;
  readonly #shipper: Shipper;
  readonly #collector: Collector;
  #stopping = false;
  #complete = false;

  constructor(port: MessagePort, start: WorkerStart) {
    const { directory, collector, collectorKey } = start;
    this.#port = port;
    this.#progress = new Progress(start.progress);
    this.#own = new Shipment(start.stream);
    this.#collector = new Collector(collector);
    this.#walk = new StreamWalk({
      directory,
      progress: this.#progress,
      key: start.key,
      shipment: this.#own,
    });
    this.#shipper = new Shipper({
      directory,
      own: this.#own,
      leftovers: start.leftovers.map(
        ({ stream, batches, ends }) => new Shipment(stream, batches, ends),
      ),
      shipped: start.shipped,
      collector: this.#collector,
      collectorKey: collectorKey === undefined ? undefined : createPublicKey(collectorKey),
      waiter: this.#waiter,
      say: (message) => this.#say(message),
      complete: () => this.#complete,
    });
  }

  nudge(): void {
    this.#waiter.nudged();
  }

  add({ stream, batches, ends }: Leftover): void {
    this.#shipper.add(new Shipment(stream, batches, ends));
    this.#waiter.walked();
  }

  trust(ca: string): void {
    this.#collector.trust(ca);
  }

  stop(timeoutMs: number): void {
    this.#stopping = true;
    this.#waiter.nudged();
    setTimeout(() => this.#waiter.stop(), timeoutMs).unref();
  }

  async run(): Promise<void> {
    const [left] = await Promise.all([this.#shipper.run(), this.#walkAlong()]);
    this.#collector.close();
    this.#say({ type: 'stopped', left });
  }

  /** Keeps up with the writer, whatever becomes of shipping. */
  async #walkAlong(): Promise<void> {
    let troubled = false;
    while (!this.#waiter.stopped) {
      try {
        const more = this.#walk.walk();
        troubled = false;
        this.#waiter.walked();
        if (more) await new Promise((resolve) => setImmediate(resolve));
        else if (this.#stopping) break;
        else await this.#rest();
      } catch (error) {
        const { message } = error instanceof Error ? error : new Error('unknown');
        const { stream } = this.#own;
        if (!troubled)
          this.#say({ type: 'trouble', trouble: { kind: 'spool', stream, error: message } });
        troubled = true;
        await this.#waiter.untilNudged(retryMs);
      }
    }
    this.#complete = true;
    this.#waiter.walked();
  }

  async #rest(): Promise<void> {
    this.#progress.wait();
    if (!this.#walk.behind) await this.#waiter.untilNudged();
    if (!this.#progress.hurry && !this.#stopping) await this.#waiter.untilNudged(lingerMs);
  }

  #say(message: FromWorker): void {
    this.#port.postMessage(message);
  }
}

let work: SpoolWork | undefined;
const port = parentPort;
port?.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'start':
      work = new SpoolWork(port, message);
      void work.run().then(() => port.close()); // what it throws ends the thread, which the other side sees
      break;
    case 'leftover':
      work?.add(message.leftover);
      break;
    case 'trust':
      work?.trust(message.ca);
      break;
    case 'nudge':
      work?.nudge();
      break;
    case 'stop':
      work?.stop(message.timeoutMs);
      break;
  }
});

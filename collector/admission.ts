import type { WriterIdentity } from '#core/control.ts';

const maxInside = 32; // each may hold its compressed body
const maxInsideOfPod = 4; // so that no pod takes all the room, however slowly it sends
const maxAtWork = 4; // each may hold its inflated batch

/** Who may send a batch now, and whose batch is worked on: what bounds the memory of ingest. */
export class Admission {
  readonly #inside = new Map<string, number>();
  #total = 0;
  #atWork = 0;
  readonly #waiting: (() => void)[] = [];

  /** Lets a batch in, or returns undefined where there is no room. What it returns is called once the batch is done. */
  enter({ pod, namespace, serviceAccount }: WriterIdentity): (() => void) | undefined {
    const who = JSON.stringify([namespace, pod, serviceAccount]);
    const own = this.#inside.get(who) ?? 0;
    if (this.#total >= maxInside || own >= maxInsideOfPod) return undefined;
    this.#total += 1;
    this.#inside.set(who, own + 1);
    return () => {
      this.#total -= 1;
      const left = (this.#inside.get(who) ?? 1) - 1;
      if (left === 0) this.#inside.delete(who);
      else this.#inside.set(who, left);
    };
  }

  /** Does the work of a batch that was let in, in its turn. */
  async work<T>(work: () => Promise<T>): Promise<T> {
    if (this.#atWork >= maxAtWork)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#atWork += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#atWork -= 1;
    }
  }
}

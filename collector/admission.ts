import type { WriterIdentity } from '#core/control.ts';

const maxInside = 32; // each may hold its compressed body
const maxInsideOfPod = 4; // so that no pod takes all the room, however slowly it sends
const maxAtWork = 4; // each may hold its inflated batch
const maxAtWorkOfPod = 2; // so that batches that take long, or wait for each other's stream, leave room for other pods

interface Waiting {
  readonly who: string;
  readonly begin: () => void;
}

/** Who may send a batch now, and whose batch is worked on: what bounds the memory of ingest. */
export class Admission {
  readonly #inside = new Map<string, number>();
  #total = 0;
  readonly #atWork = new Map<string, number>();
  #allAtWork = 0;
  readonly #waiting: Waiting[] = [];

  /** Lets a batch in, or returns undefined where there is no room. What it returns is called once the batch is done. */
  enter(writer: WriterIdentity): (() => void) | undefined {
    const who = nameOf(writer);
    const own = this.#inside.get(who) ?? 0;
    if (this.#total >= maxInside || own >= maxInsideOfPod) return undefined;
    this.#total += 1;
    add(this.#inside, who, 1);
    return () => {
      this.#total -= 1;
      add(this.#inside, who, -1);
    };
  }

  /** Does the work of a batch that was let in, in its turn. */
  async work<T>(writer: WriterIdentity, work: () => Promise<T>): Promise<T> {
    const who = nameOf(writer);
    if (this.#mayBegin(who)) this.#count(who, 1);
    else await new Promise<void>((begin) => this.#waiting.push({ who, begin }));
    try {
      return await work();
    } finally {
      this.#count(who, -1);
      this.#beginNext();
    }
  }

  #mayBegin(who: string): boolean {
    return this.#allAtWork < maxAtWork && (this.#atWork.get(who) ?? 0) < maxAtWorkOfPod;
  }

  #beginNext(): void {
    const index = this.#waiting.findIndex(({ who }) => this.#mayBegin(who));
    const [next] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (!next) return;
    this.#count(next.who, 1);
    next.begin();
  }

  #count(who: string, by: number): void {
    this.#allAtWork += by;
    add(this.#atWork, who, by);
  }
}

function nameOf({ pod, namespace, serviceAccount }: WriterIdentity): string {
  return JSON.stringify([namespace, pod, serviceAccount]);
}

function add(counts: Map<string, number>, who: string, by: number): void {
  const count = (counts.get(who) ?? 0) + by;
  if (count === 0) counts.delete(who);
  else counts.set(who, count);
}

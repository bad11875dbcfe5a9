import type { WriterIdentity } from '#core/control.ts';
import type { Finding } from './store/findings.ts';

const toldForMs = 3_600_000;

/** Pods of which no more is set aside for now: each is a finding, once an hour. */
export class Floods {
  readonly #toldAt = new Map<string, number>();

  /** Returns what is found, where that was not told within the hour. */
  find(writer: WriterIdentity): Finding | undefined {
    const { pod, namespace } = writer;
    const now = performance.now();
    for (const [who, at] of this.#toldAt) if (now - at >= toldForMs) this.#toldAt.delete(who);
    const who = nameOf(writer);
    if (this.#toldAt.has(who)) return undefined;
    this.#toldAt.set(who, now);
    const detail = `of pod ${namespace}/${pod}: too many batches did not verify within an hour, further ones are refused`;
    return { kind: 'quarantine', stream: undefined, detail };
  }

  /** The finding could not be stored: it is found again. */
  forget(writer: WriterIdentity): void {
    this.#toldAt.delete(nameOf(writer));
  }
}

function nameOf({ pod, namespace, serviceAccount }: WriterIdentity): string {
  return JSON.stringify([namespace, pod, serviceAccount]);
}

import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { Clearance } from '../clearance.ts';
import type { Ready } from '../ready.ts';
import type { SpoolWriter } from '../spool/writer.ts';
import type { Lookup } from './name-service.ts';

export interface LookupLogOptions {
  readonly writer: Pick<SpoolWriter, 'append'>;
  readonly clearance: Pick<Clearance, 'turn'>;
}

const perMinute = 20;

/**
 * Records names that policy does not know. What is asked outside is recorded one by one; of what is refused the first 20 a
 * minute are, and the rest of that minute is counted, so that asking alone fills no spool.
 */
export class LookupLog {
  readonly #options: LookupLogOptions;
  #refused = 0;
  #held: { lookup: Lookup; verdict: RecordedVerdict; attempts: number } | undefined;

  constructor(options: LookupLogOptions) {
    this.#options = options;
  }

  /** Settles when what was allowed may be asked outside, or with a Stop when it must not. */
  record(lookup: Lookup, verdict: RecordedVerdict): Ready {
    if (verdict.action === 'Allow') {
      this.#append(lookup, verdict, 1);
      return this.#options.clearance.turn();
    }
    this.#refused += 1;
    if (this.#refused <= perMinute) this.#append(lookup, verdict, 1);
    else this.#held = { lookup, verdict, attempts: (this.#held?.attempts ?? 0) + 1 };
    return undefined;
  }

  /** Records what was held back: call it every minute, and at the end. */
  endMinute(): void {
    const held = this.#held;
    this.#held = undefined;
    this.#refused = 0;
    if (held) this.#append(held.lookup, held.verdict, held.attempts);
  }

  #append({ name, type }: Lookup, verdict: RecordedVerdict, attempts: number): void {
    const payload = [Buffer.from(JSON.stringify({ name, type }))];
    const fields = { kind: 'lookup', verdict, payloadType: 'json', attempts } as const;
    this.#options.writer.append({ ending: false, seal: () => ({ fields, payload }) });
  }
}

import { isAsciiName } from '#core/postgres/frontend.ts';
import type { StatementSurvey } from '#core/postgres/sql/survey.ts';

/** What a name of a prepared statement stands for: a text that a Parse gave, or a statement within one that a PREPARE was. */
export type Known =
  | { readonly kind: 'text'; readonly text: Buffer }
  | { readonly kind: 'statement'; readonly statement: StatementSurvey; readonly bytes: number };

/** Keeps what a statement stands for while there is room; `known` is undefined from then on. */
export interface Remembered {
  known: Known | undefined;
}

const maxBytes = 2 * 1024 * 1024;
const maxEntries = 5_000;
const maxCandidates = 8;
const entryBytes = 100;

/**
 * What names of prepared statements may stand for: with them EXECUTE and Bind are judged. A name may have several
 * candidates, since whether a PREPARE or a DEALLOCATE was done is not known at once; all of them are judged.
 */
export class KnownTexts {
  readonly #entries: { readonly name: string; readonly remembered: Remembered }[] = [];
  readonly #byName = new Map<string, Remembered[]>();
  #bytes = 0;
  /** Whether something was forgotten, so that a name may stand for more than is known. */
  #lossy = false;

  remember(name: string, known: Known): Remembered {
    const remembered: Remembered = { known };
    const candidates = this.#byName.get(name);
    if (candidates) candidates.push(remembered);
    else this.#byName.set(name, [remembered]);
    this.#entries.push({ name, remembered });
    this.#bytes += sizeOf(known);
    while (this.#bytes > maxBytes || this.#entries.length > maxEntries) this.#forgetOldest();
    return remembered;
  }

  /**
   * Everything that a name may stand for, or undefined where that is not known for certain: SQL gives a name that is not
   * ASCII in characters, and messages in bytes.
   */
  candidates(name: string): readonly Known[] | undefined {
    const candidates = isAsciiName(name) ? this.#byName.get(name) : undefined;
    if (!candidates || this.#lossy || candidates.length > maxCandidates) return undefined;
    return candidates.flatMap(({ known }) => known ?? []);
  }

  /** Every name was taken back, as the backend has said. */
  clear(): void {
    this.#entries.length = 0;
    this.#byName.clear();
    this.#bytes = 0;
    this.#lossy = false;
  }

  #forgetOldest(): void {
    const oldest = this.#entries.shift();
    if (!oldest) return;
    const { name, remembered } = oldest;
    if (remembered.known) this.#bytes -= sizeOf(remembered.known);
    remembered.known = undefined;
    const left = this.#byName.get(name)?.filter((candidate) => candidate !== remembered) ?? [];
    if (left.length > 0) this.#byName.set(name, left);
    else this.#byName.delete(name);
    this.#lossy = true;
  }
}

function sizeOf(known: Known): number {
  return entryBytes + (known.kind === 'text' ? known.text.length : known.bytes);
}

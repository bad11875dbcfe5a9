import type { RecordHeader } from './kinds.ts';

/** Sessions of one stream that may be open at once; honest sidecars have far fewer. */
const maxOpen = 1_000_000;

/** Follows the numbers of the records within their sessions. */
export class SessionsCheck {
  /** The last number of each session that is open. */
  readonly #open = new Map<string, number>();
  readonly #only: string | undefined;
  readonly #afterCut: boolean;
  #firstN: number | undefined;
  #lastSeq = 0;
  #ended = false;

  /** `only`: the one session that counts. `afterCut`: the beginning of a session may have been dropped. */
  constructor(options: { readonly only: string | undefined; readonly afterCut: boolean }) {
    this.#only = options.only;
    this.#afterCut = options.afterCut;
  }

  /** Of the one session: number of its first record that is there, its last record's seq, and whether it has ended. */
  get one(): {
    readonly firstN: number | undefined;
    readonly lastSeq: number;
    readonly ended: boolean;
  } {
    return { firstN: this.#firstN, lastSeq: this.#lastSeq, ended: this.#ended };
  }

  /** Takes a record's header. Returns what is wrong with it. */
  take(header: RecordHeader): string | undefined {
    const session: unknown = header.session;
    if (session === undefined || (this.#only !== undefined && session !== this.#only))
      return undefined;
    if (typeof session !== 'string') return 'its session is no id';
    if (this.#ended) return 'it comes behind the end of its session';
    const n: unknown = header.n;
    const last = this.#open.get(session);
    const due = (last ?? 0) + 1;
    const begins = last === undefined && this.#afterCut && Number.isSafeInteger(n);
    if (n !== due && !(begins && Number(n) > 0))
      return `it is number ${Number(n)} of its session, and number ${due} is due`;
    if (last === undefined && this.#open.size >= maxOpen) return 'too many sessions are open';
    this.#open.set(session, Number(n));
    if (header.kind === 'session.end') {
      if (header.count !== n) return `its session has ${Number(n)} records, and it says ${Number(header.count)}`; // prettier-ignore
      this.#open.delete(session);
    }
    if (this.#only !== undefined) {
      this.#firstN ??= Number(n);
      this.#lastSeq = header.seq;
      this.#ended = header.kind === 'session.end';
    }
    return undefined;
  }
}

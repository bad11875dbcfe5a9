import { isPromise } from 'node:util/types';
import { generalForm } from './general-form.ts';
import { GrammarThread, type GrammarThreadOptions, type Outcome } from './grammar-thread.ts';
import { ReadingCache } from './reading-cache.ts';
import { unreadable, type Reading } from './reading.ts';

export interface GrammarOptions {
  /** Of one text, from when its turn has come. Default 250. */
  readonly deadlineMs?: number;
  /** Of the readings that are kept. Default 8 MiB. */
  readonly cacheBytes?: number;
}

/** As of the longest text that is judged: PostgreSQL's own limit is 1 GB, which no thread would parse in time. */
export const maxJudgedTextBytes = 256 * 1024;

/** A session whose text takes longer is served apart from then on. Ordinary statements take 14 to 60 µs. */
const slowMs = 10;
/** The thread for such sessions goes, and its 50 MB with it, when they are quiet. */
const idleMs = 10_000;
const queue = { maxTexts: 256, maxLength: 4 * 1024 * 1024 };

interface Lane {
  readonly thread: GrammarThread;
  /** Texts that are being read. */
  readonly pending: Map<string, Promise<Outcome>>;
}

/**
 * Reads texts of SQL with PostgreSQL's grammar, in threads: what a text does to a parser, it does to nobody else. Sessions
 * whose texts were slow or fatal share a thread of their own.
 */
export class Grammar {
  readonly #ordinary: Lane;
  readonly #suspect: Lane;
  readonly #suspects = new WeakSet<object>();
  readonly #cache: ReadingCache;
  #stopped = false;

  constructor({ deadlineMs = 250, cacheBytes = 8 * 1024 * 1024 }: GrammarOptions = {}) {
    this.#ordinary = lane({ deadlineMs, ...queue, idleMs: undefined });
    this.#suspect = lane({ deadlineMs, ...queue, idleMs });
    this.#cache = new ReadingCache(cacheBytes);
  }

  /** Reads a text, at once where it was read before. `session` is whose it is, and stands for it by its identity. */
  read(text: string, session?: object): Reading | Promise<Reading> {
    const general = generalForm(text);
    if (general === undefined || general === text) return this.#read(text, session);
    const reading = this.#read(general, session);
    // A mistake is told in the text's own words.
    const own = (read: Reading): Reading | Promise<Reading> =>
      read.kind === 'survey' ? read : this.#read(text, session);
    return isPromise(reading) ? reading.then(own) : own(reading);
  }

  #read(text: string, session: object | undefined): Reading | Promise<Reading> {
    if (this.#stopped) return unreadable('stopped');
    if (text.length > maxJudgedTextBytes || Buffer.byteLength(text) > maxJudgedTextBytes) {
      return unreadable('too long');
    }
    if (text.includes('\0')) return unreadable('nul byte'); // for C a text ends there
    const known = this.#cache.get(text);
    if (known) return known;
    const { thread, pending } =
      session && this.#suspects.has(session) ? this.#suspect : this.#ordinary;
    let reading = pending.get(text);
    if (!reading) {
      reading = thread.read(text).then((outcome) => this.#keep(text, outcome, pending));
      pending.set(text, reading);
    }
    return reading.then((outcome) => this.#judge(outcome, session));
  }

  /** Ends the threads; what they have not read is unreadable, and so is everything from now on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([this.#ordinary.thread.stop(), this.#suspect.thread.stop()]);
  }

  /** What was not read may be read another time: a machine that was busy then says nothing about the text. */
  #keep(text: string, outcome: Outcome, pending: Lane['pending']): Outcome {
    pending.delete(text);
    const { reading, length } = outcome;
    if (reading.kind !== 'unreadable') this.#cache.set(text, reading, length);
    return outcome;
  }

  #judge({ reading, tookMs, fatal }: Outcome, session: object | undefined): Reading {
    if (session && (fatal || tookMs > slowMs)) this.#suspects.add(session);
    return reading;
  }
}

function lane(options: GrammarThreadOptions): Lane {
  return { thread: new GrammarThread(options), pending: new Map() };
}

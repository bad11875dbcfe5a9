import type { KeyObject } from 'node:crypto';
import { ChaperoneError } from '../errors.ts';
import { readExport, type ExportItem, type Manifest } from './export.ts';
import type { Frame } from './frame.ts';
import { ChainCheck, type Break } from './verify-chain.ts';
import { isSigned, LedgerClaims, tryReadClaim } from './verify-ledger.ts';
import { SessionsCheck } from './verify-sessions.ts';

/** What was found out about an export; `docs/audit-format.md` says when which. */
export type Verdict =
  /** From the start, or a cut that the ledger knows, to the end, with a proven origin. */
  | { readonly kind: 'complete' }
  | { readonly kind: 'unbroken'; readonly upTo: number }
  | { readonly kind: 'consistent'; readonly why: string }
  | {
      readonly kind: 'broken';
      readonly at: number;
      /** Where it is not that of the manifest: the successor. */
      readonly stream?: string | undefined;
      readonly why: string;
    };

/** What is believed. Without keys and ledger, the lines of the export are taken at their word. */
export interface Trust {
  /** Public keys of collectors. */
  readonly keys: readonly KeyObject[];
  /** What a copy of the ledger says, where one was given and checked. */
  readonly ledger?: LedgerClaims | undefined;
}

/** A verdict, and what was seen on the way to it. */
export interface Report {
  readonly verdict: Verdict;
  readonly manifest: Manifest | undefined;
  /** Records of the session or stream that are there. */
  readonly records: number;
  /** Records whose payload is not there. */
  readonly erased: number;
  /** The first of them, as ranges of first and last seq. */
  readonly erasedRanges: readonly (readonly [number, number])[];
  /** How far the first stream goes, with the link there in lower-case hex. */
  readonly last: { readonly seq: number; readonly link: string };
}

const maxRanges = 100;

/** Verifies an export, offline. Memory grows with the lines of the ledger about its streams, never with records. */
export async function verifyExport(
  pieces: AsyncIterable<Buffer>,
  trust: Trust,
  onFrame?: (frame: Frame) => void,
): Promise<Report> {
  const check = new ExportCheck(trust);
  try {
    for await (const item of readExport(pieces)) {
      if (item.type === 'F') onFrame?.(item.frame);
      if (check.take(item)) break;
    }
  } catch (error) {
    if (!(error instanceof ChaperoneError) || error.code !== 'record-invalid') throw error;
    check.fail(error.message);
  }
  return check.report();
}

/** The steps of `verifyExport`, an item each. */
class ExportCheck {
  readonly #trust: Trust;
  readonly #claims = new LedgerClaims();
  /** The stream itself, then its successors. */
  readonly #chains: ChainCheck[] = [];
  #manifest: Manifest | undefined;
  #sessions = new SessionsCheck({ only: undefined, afterCut: false });
  #broken: Break | undefined;
  /** Lines that a trusted key has signed, and others. */
  readonly #lines = { believed: 0, others: 0 };
  #records = 0;
  #erased = 0;
  readonly #erasedRanges: [number, number][] = [];

  constructor(trust: Trust) {
    this.#trust = trust;
  }

  /** Returns whether the export is broken, so that nothing more has to be read. */
  take(item: ExportItem): boolean {
    this.#broken ??= this.#take(item);
    return this.#broken !== undefined;
  }

  /** Says that the bytes are no export from here on. */
  fail(why: string): void {
    const before = this.#manifest ? (this.#manifest.cut?.seq ?? 0) + 1 : 0;
    const chain = this.#chains.at(-1);
    this.#broken ??= chain ? { at: chain.seq + 1, why, stream: chain.stream } : { at: before, why };
  }

  report(): Report {
    const [chain] = this.#chains;
    return {
      verdict: this.#verdict(),
      manifest: this.#manifest,
      records: this.#records,
      erased: this.#erased,
      erasedRanges: this.#erasedRanges,
      last: { seq: chain?.seq ?? 0, link: chain?.link.toString('hex') ?? '' },
    };
  }

  get #isTrusted(): boolean {
    return this.#trust.keys.length > 0 || this.#trust.ledger !== undefined;
  }

  #take(item: ExportItem): Break | undefined {
    if (item.type === 'M') {
      const { cut, session } = (this.#manifest = item.manifest);
      this.#sessions = new SessionsCheck({ only: session, afterCut: cut !== undefined });
      return undefined;
    }
    if (item.type === 'L') {
      this.#takeLine(item.line);
      return undefined;
    }
    const begun = this.#begun();
    if (!(begun instanceof ChainCheck)) return begun;
    const broken = this.#takeRecord(begun, item);
    return broken && { stream: begun.stream, ...broken };
  }

  #takeRecord(
    chain: ChainCheck,
    item: Exclude<ExportItem, { type: 'M' | 'L' }>,
  ): Break | undefined {
    switch (item.type) {
      case 'F':
        return this.#takeFrame(chain, item.frame);
      case 'H':
        return chain.takeHashes(item.hashes);
      case 'J':
        return chain.jump(item.to);
      case 'S':
        return chain.close() ?? this.#missing(chain) ?? this.#add(item.stream, chain);
      case 'E':
        return chain.close() ?? this.#missing(chain);
    }
  }

  #takeLine(line: string): void {
    const { keys, ledger } = this.#trust;
    const believed = keys.length > 0 ? isSigned(line, keys) : ledger === undefined;
    this.#lines[believed ? 'believed' : 'others'] += 1;
    const claim = believed ? tryReadClaim(line) : undefined;
    if (claim) this.#claims.add(claim);
  }

  /** The stream that records are of now; the first one begins once all lines of the ledger are known. */
  #begun(): ChainCheck | Break | undefined {
    const chain = this.#chains.at(-1);
    if (chain || !this.#manifest) return chain;
    if (this.#trust.keys.length > 0 && this.#lines.believed > 0 && this.#lines.others > 0)
      return { at: (this.#manifest.cut?.seq ?? 0) + 1, why: 'one of its lines of the ledger was signed by no trusted key' }; // prettier-ignore
    return this.#add(this.#manifest.stream, undefined) ?? this.#chains[0];
  }

  #add(stream: string, previous: ChainCheck | undefined): Break | undefined {
    const claims = [this.#trust.ledger, this.#claims].flatMap((all) => all?.of(stream) ?? []);
    const chain = new ChainCheck({
      stream,
      cut: previous ? undefined : this.#manifest?.cut,
      claims: LedgerClaims.join(claims),
      trusted: this.#isTrusted,
      whole: !previous && this.#manifest?.of === 'stream',
      previous: previous && { stream: previous.stream, seq: previous.seq, link: previous.link.toString('hex') }, // prettier-ignore
    });
    this.#chains.push(chain);
    return chain.begin();
  }

  #takeFrame(chain: ChainCheck, frame: Frame): Break | undefined {
    const broken = chain.takeFrame(frame);
    if (broken) return broken;
    const { header, payload } = frame;
    if (this.#chains.length > 1) return undefined;
    if (this.#manifest?.session === undefined || header.session === this.#manifest.session) this.#records += 1; // prettier-ignore
    const why = this.#sessions.take(header);
    if (why !== undefined) return { at: header.seq, why };
    if (header.payload && payload.length === 0) this.#noteErased(header.seq);
    return undefined;
  }

  #noteErased(seq: number): void {
    this.#erased += 1;
    const last = this.#erasedRanges.at(-1);
    if (last && last[1] === seq - 1) last[1] = seq;
    else if (this.#erasedRanges.length < maxRanges) this.#erasedRanges.push([seq, seq]);
  }

  /** What is missing at the end of the first stream. */
  #missing(chain: ChainCheck): Break | undefined {
    if (chain !== this.#chains[0]) return undefined;
    if (this.#manifest?.of === 'stream') return chain.missing();
    if (this.#sessions.one.firstN !== undefined) return undefined;
    return { at: chain.seq + 1, why: 'no record of the session is there' };
  }

  #verdict(): Verdict {
    const [chain] = this.#chains;
    const manifest = this.#manifest;
    if (this.#broken || !chain || !manifest) {
      const { at, why, stream } = this.#broken ?? { at: 0, why: 'it is empty', stream: undefined };
      return { kind: 'broken', at, why, stream: stream === manifest?.stream ? undefined : stream };
    }
    const { firstN, lastSeq, ended } = this.#sessions.one;
    const ofStream = manifest.of === 'stream';
    const last = ofStream ? chain.seq : lastSeq;
    const proven = this.#provenTo(0);
    const hasEnd = ofStream ? chain.ended || this.#isFollowed(0) : ended;
    if (!hasEnd || proven < last) return { kind: 'unbroken', upTo: Math.min(last, proven) };
    const why = this.#whyUnproven(last, ofStream && !chain.ended);
    if (why !== undefined) return { kind: 'consistent', why };
    if (!ofStream && firstN !== 1)
      return { kind: 'consistent', why: `retention may have dropped its records before number ${firstN ?? 0}` }; // prettier-ignore
    return { kind: 'complete' };
  }

  /** How far a stream of the export is proven, by itself or because its successor is. */
  #provenTo(index: number): number {
    let proven = 0;
    let proves = false; // what follows, all before it
    for (const chain of this.#chains.slice(index).reverse()) {
      proven = proven > 0 && proves ? chain.seq : chain.provenTo;
      proves = chain.provesPrevious;
    }
    return proven;
  }

  #isFollowed(index: number): boolean {
    return this.#provenTo(index + 1) > 0 && this.#chains[index + 1]?.provesPrevious === true;
  }

  /** Why it is not known who wrote the records: of the stream, and of every successor that it takes to prove it. */
  #whyUnproven(last: number, endBySuccessor: boolean): string | undefined {
    if (!this.#isTrusted) return 'neither a key of a collector nor a copy of the ledger was given';
    let needed = last;
    let more = true;
    for (const chain of this.#chains) {
      if (!more) break;
      if (!chain.isNamed) return `no trusted line of the ledger names the key of stream ${chain.stream}`; // prettier-ignore
      more = chain.provenTo < needed || (chain === this.#chains[0] && endBySuccessor);
      needed = 1;
    }
    return undefined;
  }
}

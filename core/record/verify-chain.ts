import type { KeyObject } from 'node:crypto';
import { judgeCheckpoint, tryParsePublicKey, unlinked, unsigned } from './checkpoint.ts';
import { firstLink, hashHeader, nextLink } from './chain.ts';
import { payloadMatches, type Frame } from './frame.ts';
import type { RecordHeader, StreamHead } from './kinds.ts';
import type { StreamClaims } from './verify-ledger.ts';

/** What does not hold, and at which record. */
export interface Break {
  readonly at: number;
  readonly why: string;
  /** The stream, where it is not the one that is due. */
  readonly stream?: string;
}

/** What is known of a stream before its records are looked at. */
export interface ChainStart {
  readonly stream: string;
  /** The last record that retention dropped. */
  readonly cut?: { readonly seq: number; readonly link: string } | undefined;
  /** What those lines of the ledger say that are trusted, or taken at their word. */
  readonly claims: StreamClaims;
  /** Whether they are more than words. */
  readonly trusted: boolean;
  /** Whether every record has to be there, as in the export of a stream. */
  readonly whole: boolean;
  /** What its start has to name. */
  readonly previous?: StreamHead | undefined;
}

/**
 * Follows the chain of one stream: each record takes the place that is due, and signatures and ledger prove where it
 * leads. Methods return what breaks the stream; nothing is to be asked of it after that.
 */
export class ChainCheck {
  readonly stream: string;
  readonly #start: ChainStart;
  #seq: number;
  #link: Buffer;
  #key: string | undefined;
  #publicKey: KeyObject | undefined;
  #signedTo = 0;
  #ledgerTo = 0;
  /** Behind a verified checkpoint: its key signs for what a jump leads to. */
  #mayJump = false;
  #jumped = false;
  #provesPrevious = false;
  #end: 'open' | 'ended' | 'sealed' = 'open';

  constructor(start: ChainStart) {
    this.#start = start;
    this.stream = start.stream;
    this.#seq = start.cut?.seq ?? 0;
    this.#link = start.cut ? Buffer.from(start.cut.link, 'hex') : firstLink(start.stream);
  }

  /** The last record that was passed. */
  get seq(): number {
    return this.#seq;
  }

  /** The link there. */
  get link(): Buffer {
    return this.#link;
  }

  /** The last record that a signature or the ledger proves. */
  get provenTo(): number {
    return Math.max(this.#signedTo, this.#ledgerTo);
  }

  /** Whether its first record, once it is proven, proves all of the stream before: not where that lost records. */
  get provesPrevious(): boolean {
    return this.#provesPrevious;
  }

  /** Whether the stream says itself that it has ended. */
  get ended(): boolean {
    return this.#end !== 'open';
  }

  /** Whether the ledger names the key that signs the stream. */
  get isNamed(): boolean {
    return this.#key !== undefined && this.#start.claims.keys.has(this.#key);
  }

  get claims(): StreamClaims {
    return this.#start.claims;
  }

  /** Looks at what is known before the first record. */
  begin(): Break | undefined {
    const { claims, cut, trusted } = this.#start;
    if (cut) {
      if (trusted && claims.known && claims.cuts.get(cut.seq) !== cut.link)
        return { at: 1, why: `no line of the ledger says that records up to ${cut.seq} may be missing` }; // prettier-ignore
      const [key] = claims.keys;
      const broken = this.#useKey(key);
      if (broken) return broken;
    }
    return this.#compareLedger();
  }

  /** Takes a record that is there. */
  takeFrame(frame: Frame): Break | undefined {
    const { header } = frame;
    const why = this.#whyNotDue(frame);
    if (why !== undefined) return this.#broken(why);
    if (header.kind === 'gap' && this.#start.whole) return this.#gap(header);
    const mayJump = header.kind === 'checkpoint' && header.signature !== unsigned;
    if (this.#jumped && !mayJump) return this.#broken('no signed checkpoint is where a jump leads');
    if (header.kind === 'checkpoint') {
      if (this.#jumped) this.#link = Buffer.from(String(header.link), 'hex');
      const wrong = this.#checkpoint(header);
      if (wrong !== undefined) return this.#broken(wrong);
    }
    this.#jumped = false;
    this.#mayJump = mayJump;
    if (header.kind === 'stream.start') {
      const broken = this.#whyNotNext(header.previous) ?? this.#useKey(header.publicKey);
      if (broken) return broken;
    }
    if (this.#end === 'ended') this.#end = 'sealed';
    if (header.kind === 'stream.end') this.#end = 'ended';
    return this.#step(hashHeader(frame.headerBytes));
  }

  /** Takes records that are left out, by the hashes of their headers. */
  takeHashes(hashes: Buffer): Break | undefined {
    if (this.#start.whole) return this.#broken('it is left out');
    if (this.#isDue()) return this.#broken('a successor does not begin with its start');
    if (this.#jumped) return this.#broken('no signed checkpoint is where a jump leads');
    if (this.#end !== 'open') return this.#broken('it comes behind the end of the stream');
    this.#mayJump = false;
    for (let at = 0; at < hashes.length; at += 32) {
      const broken = this.#step(hashes.subarray(at, at + 32));
      if (broken) return broken;
    }
    return undefined;
  }

  /** Passes over records of which nothing is there; the next one has to be the checkpoint at `to`. */
  jump(to: number): Break | undefined {
    if (this.#start.whole) return this.#broken('it is left out');
    if (!this.#mayJump) return this.#broken('it is jumped over where nothing is signed');
    if (to < this.#seq + 2) return this.#broken('a jump leads back');
    this.#mayJump = false;
    this.#jumped = true;
    this.#seq = to - 1;
    return undefined;
  }

  /** Says that no record of the stream follows. */
  close(): Break | undefined {
    return this.#jumped
      ? this.#broken('no signed checkpoint is where a jump leads')
      : this.#isDue()
        ? this.#broken('a successor does not begin with its start')
        : undefined;
  }

  /** Looks at whether the ledger knows more records than have been passed. */
  missing(): Break | undefined {
    const { lastSeq } = this.#start.claims;
    if (lastSeq <= this.#seq) return undefined;
    return this.#broken(`the ledger has records up to ${lastSeq}`);
  }

  /** Whether the start of a successor is still to come. */
  #isDue(): boolean {
    return this.#start.previous !== undefined && this.#seq === 0;
  }

  #whyNotNext(named: unknown): Break | undefined {
    const { previous } = this.#start;
    if (!previous) return undefined;
    const { stream, seq, link } = fieldsOf(named);
    if (stream !== previous.stream) return this.#broken('its start names another stream before it');
    if (Number.isSafeInteger(seq) && Number(seq) > previous.seq) {
      const why = `its successor says that it goes up to record ${Number(seq)}`;
      return { at: previous.seq + 1, why, stream };
    }
    const same = seq === previous.seq && (link === previous.link || link === unlinked);
    this.#provesPrevious = link !== unlinked;
    return same ? undefined : this.#broken('its start names another end of the stream before it');
  }

  #whyNotDue(frame: Frame): string | undefined {
    const { header, payload } = frame;
    if (header.stream !== this.stream) return 'a record of another stream is in its place';
    if (header.seq !== this.#seq + 1) {
      const aside = this.claims.quarantinedAfter.has(this.#seq)
        ? '; the ledger says that something was set aside here'
        : '';
      return `record ${header.seq} is in its place${aside}`;
    }
    if ((header.kind === 'stream.start') !== (header.seq === 1))
      return 'a stream has one start, and begins with it';
    if (this.#end === 'sealed' || (this.#end === 'ended' && header.kind !== 'checkpoint'))
      return 'it comes behind the end of the stream';
    if (!payloadMatches(frame)) return 'its payload does not have the hash in its header';
    if (header.payload && payload.length === 0 && !this.#mayBeErased(header.seq))
      return 'its payload is missing, and no line of the ledger says that it was erased';
    return undefined;
  }

  #mayBeErased(seq: number): boolean {
    const { claims, trusted } = this.#start;
    if (!trusted || !claims.known) return true;
    return claims.erased.some(([first, last]) => first <= seq && seq <= last);
  }

  #checkpoint(header: Extract<RecordHeader, { kind: 'checkpoint' }>): string | undefined {
    const link = this.#link.toString('hex');
    if (header.signature === unsigned)
      return header.link === unlinked || header.link === link ? undefined : this.#astray('it');
    if (header.link !== link) return this.#astray('it');
    if (!this.#publicKey) return 'it is signed, and there is no key to check it with';
    if (judgeCheckpoint(this.#publicKey, header) !== 'signed')
      return 'its signature is not one of the stream';
    this.#signedTo = this.#seq;
    return undefined;
  }

  #gap(header: Extract<RecordHeader, { kind: 'gap' }>): Break {
    const { from } = header;
    const known = Number.isSafeInteger(from) && from > 0 && from < header.seq;
    const why = `the sidecar recorded, in record ${header.seq}, that records are lost from here on`;
    return { at: known ? from : header.seq, why };
  }

  #useKey(hex: unknown): Break | undefined {
    this.#publicKey = tryParsePublicKey(hex);
    this.#key = this.#publicKey && String(hex);
    const { keys } = this.#start.claims;
    const same = keys.size === 0 || (keys.size === 1 && this.isNamed);
    return same ? undefined : this.#broken('the ledger names another key for the stream');
  }

  #step(headerHash: Buffer): Break | undefined {
    this.#link = nextLink(this.#link, headerHash);
    this.#seq += 1;
    return this.#compareLedger();
  }

  #compareLedger(): Break | undefined {
    const links = this.claims.links.get(this.#seq);
    if (!links) return undefined;
    const fits = links.size === 1 && links.has(this.#link.toString('hex'));
    if (!fits) return { at: this.#seq, why: this.#astray('the ledger') };
    this.#ledgerTo = this.#seq;
    return undefined;
  }

  #astray(by: string): string {
    return `records ${this.provenTo + 1} to ${this.#seq} do not lead to the link that ${by} names`;
  }

  #broken(why: string): Break {
    return { at: this.#seq + 1, why };
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

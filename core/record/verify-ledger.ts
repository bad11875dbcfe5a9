import type { KeyObject } from 'node:crypto';
import { isHex, publicKeyBytes, unlinked } from './checkpoint.ts';
import {
  hashOfLine,
  isSignedLine,
  ledgerStart,
  tryParseLedgerLine,
  type LedgerEntry,
} from './ledger.ts';

/** What lines of the ledger say of one stream. */
export interface StreamClaims {
  /** Where its link is known, by seq; more than one of a seq contradict each other unless they are the same. */
  readonly links: ReadonlyMap<number, ReadonlySet<string>>;
  /** The highest seq that a head names, with a link or without. */
  readonly lastSeq: number;
  /** Public keys that its heads and cuts name, in the order of the lines. */
  readonly keys: ReadonlySet<string>;
  /** Links of what retention dropped, by seq. */
  readonly cuts: ReadonlyMap<number, string>;
  /** Ranges of records whose payloads were erased, first and last seq. */
  readonly erased: readonly (readonly [number, number])[];
  /** Places behind which something was set aside. */
  readonly quarantinedAfter: ReadonlySet<number>;
  /** Whether there is a line about the stream at all. */
  readonly known: boolean;
}

interface Claims extends StreamClaims {
  readonly links: Map<number, Set<string>>;
  lastSeq: number;
  readonly keys: Set<string>;
  readonly cuts: Map<number, string>;
  readonly erased: (readonly [number, number])[];
  readonly quarantinedAfter: Set<number>;
  known: boolean;
}

/** Gathers what lines say, by stream. Whether a line is to be believed is for the caller to know. */
export class LedgerClaims {
  readonly #streams = new Map<string, Claims>();

  /** Returns what several say together. */
  static join(others: readonly StreamClaims[]): StreamClaims {
    const all = nothing();
    for (const claims of others) merge(all, claims);
    return all;
  }

  /** The streams that lines are about. */
  get streams(): readonly string[] {
    return [...this.#streams.keys()];
  }

  of(stream: string): StreamClaims {
    return this.#streams.get(stream) ?? nothing();
  }

  add(entry: LedgerEntry): void {
    const claims = this.#streams.get(entry.stream) ?? nothing();
    this.#streams.set(entry.stream, claims);
    claims.known = true;
    switch (entry.kind) {
      case 'head':
      case 'cut':
        if (entry.kind === 'cut') claims.cuts.set(entry.seq, entry.link);
        else claims.lastSeq = Math.max(claims.lastSeq, entry.seq);
        if (entry.link !== undefined && entry.link !== unlinked)
          addLink(claims, entry.seq, entry.link);
        if (entry.publicKey !== undefined) claims.keys.add(entry.publicKey);
        break;
      case 'erasure':
        claims.erased.push(...entry.ranges);
        break;
      case 'quarantine':
        claims.quarantinedAfter.add(entry.after);
        break;
    }
  }
}

function nothing(): Claims {
  return {
    links: new Map(),
    lastSeq: 0,
    keys: new Set(),
    cuts: new Map(),
    erased: [],
    quarantinedAfter: new Set(),
    known: false,
  };
}

function merge(all: Claims, other: StreamClaims): void {
  for (const [seq, links] of other.links) for (const link of links) addLink(all, seq, link);
  for (const key of other.keys) all.keys.add(key);
  for (const [seq, link] of other.cuts) all.cuts.set(seq, link);
  for (const range of other.erased) all.erased.push(range);
  for (const seq of other.quarantinedAfter) all.quarantinedAfter.add(seq);
  all.lastSeq = Math.max(all.lastSeq, other.lastSeq);
  all.known ||= other.known;
}

function addLink(claims: Claims, seq: number, link: string): void {
  const links = claims.links.get(seq);
  if (links) links.add(link);
  else claims.links.set(seq, new Set([link]));
}

/**
 * Reads a line as something that it claims of a stream, without its signature; undefined where it claims nothing that is
 * known here.
 */
export function tryReadClaim(line: string): LedgerEntry | undefined {
  const entry = tryReadLine(line);
  return entry && hasFields(entry) ? entry : undefined;
}

function tryReadLine(line: string): LedgerEntry | undefined {
  const entry = /^[0-9a-f]{128} /.test(line) ? tryParseLedgerLine(line) : undefined;
  return entry && entry.n > 0 ? entry : undefined;
}

function hasFields(entry: LedgerEntry): boolean {
  switch (entry.kind) {
    case 'head':
      return isPlace(entry.seq) && isOptional(entry.link, 32) && isKey(entry.publicKey);
    case 'cut':
      return isPlace(entry.seq) && isHex(entry.link, 32) && isKey(entry.publicKey);
    case 'erasure':
      return Array.isArray(entry.ranges) && entry.ranges.every(isRange);
    case 'quarantine':
      return isPlace(entry.after) && isHex(entry.sha256, 32);
    default:
      return false; // a kind that is not known says nothing
  }
}

function isPlace(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0; // isSafeInteger does not narrow
}

function isOptional(value: unknown, bytes: number): boolean {
  return value === undefined || isHex(value, bytes);
}

function isKey(value: unknown): boolean {
  return isOptional(value, publicKeyBytes);
}

function isRange(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(isPlace);
}

/** What a check of a ledger found. */
export type LedgerVerdict =
  | { readonly kind: 'whole'; readonly upTo: number }
  | { readonly kind: 'broken'; readonly at: number; readonly why: string };

/** What a ledger is checked with. */
export interface LedgerCheck {
  /** One of these has signed every line; none: signatures are not looked at. */
  readonly keys: readonly KeyObject[];
  /** `copy`: it may begin at any line. */
  readonly of: 'ledger' | 'copy';
  /** Lines that it has to have: those of a copy that is kept elsewhere, from any line on. */
  readonly copy?: AsyncIterable<string> | undefined;
  /** Told of every line that fits, with what it claims. */
  readonly onClaim?: (entry: LedgerEntry) => void;
}

/** Checks a ledger as a whole: that its lines follow each other, are signed, and are those of a copy. */
export async function checkLedger(
  lines: AsyncIterable<string>,
  { keys, of, copy, onClaim }: LedgerCheck,
): Promise<LedgerVerdict> {
  const kept = copy?.[Symbol.asyncIterator]();
  let due = await nextOf(kept);
  let compares = false; // once the copy has begun, line by line
  let n = of === 'ledger' ? 0 : undefined;
  let previous = of === 'ledger' ? ledgerStart : undefined;
  for await (const line of lines) {
    const entry = tryReadLine(line);
    const at = n === undefined ? (entry?.n ?? 1) : n + 1;
    const why = whyNotNext(line, entry, { at, previous, keys });
    if (why !== undefined) return { kind: 'broken', at, why };
    compares ||= due !== undefined && (tryReadLine(due)?.n ?? at) <= at;
    if (due !== undefined && compares) {
      if (due !== line) return { kind: 'broken', at, why: 'its copy elsewhere is another' };
      due = await nextOf(kept);
    }
    n = at;
    previous = hashOfLine(line);
    if (entry && hasFields(entry)) onClaim?.(entry);
  }
  const last = n ?? 0;
  if (due === undefined) return { kind: 'whole', upTo: last };
  return { kind: 'broken', at: last + 1, why: 'the copy elsewhere has it, the ledger has not' };
}

async function nextOf(lines: AsyncIterator<string> | undefined): Promise<string | undefined> {
  const next = await lines?.next();
  return next?.done === false ? next.value : undefined;
}

function whyNotNext(
  line: string,
  entry: LedgerEntry | undefined,
  due: {
    readonly at: number;
    readonly previous: string | undefined;
    readonly keys: readonly KeyObject[];
  },
): string | undefined {
  if (!entry) return 'it cannot be read';
  if (entry.n !== due.at) return `line ${entry.n} is in its place`;
  if (due.previous !== undefined && entry.previous !== due.previous)
    return 'it does not name the one before as that is';
  if (due.keys.length > 0 && !isSigned(line, due.keys)) return 'no trusted key has signed it';
  return undefined;
}

/** Whether one of the keys has signed a line. */
export function isSigned(line: string, keys: readonly KeyObject[]): boolean {
  return keys.some((key) => isSignedLine(key, line));
}

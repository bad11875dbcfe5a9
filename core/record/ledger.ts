import { hash, sign, verify, type KeyObject } from 'node:crypto';
import { isHex, signatureBytes } from './checkpoint.ts';

/**
 * The ledger: what a collector puts on record about its streams, one line an entry, each naming the hash of the one
 * before and signed with the collector's own key. A line is `signature SP entry`, where the entry is JSON kept as it was
 * written; it is what is hashed and signed.
 */
export type LedgerEntry = LedgerEnvelope & LedgerFields;

/** What every entry has. */
export interface LedgerEnvelope {
  readonly v: 1;
  /** From 1, without a gap. */
  readonly n: number;
  /** SHA-256 of the entry before, in lower-case hex; zeros in the first. */
  readonly previous: string;
  /** RFC 3339, by the store's clock. */
  readonly time: string;
}

/** What an entry is about, by kind. */
export type LedgerFields =
  | {
      /** A stream's head as it is committed. */
      readonly kind: 'head';
      readonly stream: string;
      readonly seq: number;
      /** Absent while nothing proves the head, behind a batch that did not verify. */
      readonly link?: string | undefined;
      /** As the first record gave it, in hex; absent where there is no such record. */
      readonly publicKey?: string | undefined;
      /** Who sent it, by the review of its token. */
      readonly pod: string;
      readonly namespace: string;
      readonly serviceAccount: string;
    }
  | {
      /** Retention dropped the records of a stream up to this one. */
      readonly kind: 'cut';
      readonly stream: string;
      readonly seq: number;
      readonly link: string;
      readonly publicKey?: string | undefined;
    }
  | {
      /** Payloads were erased. */
      readonly kind: 'erasure';
      readonly stream: string;
      /** Seqs of the records, as ranges of first and last. */
      readonly ranges: readonly (readonly [number, number])[];
      /** Who ordered it and why, as given by the operator. */
      readonly who: string;
      readonly why: string;
    }
  | {
      /** Records could not be verified, and were set aside. */
      readonly kind: 'quarantine';
      readonly stream: string;
      /** The last record before them that was committed. */
      readonly after: number;
      /** SHA-256 of what was sent, in hex. */
      readonly sha256: string;
    };

/** What the first entry names as the one before. */
export const ledgerStart = '0'.repeat(64);

/** Builds a line without its end. */
export function buildLedgerLine(
  key: KeyObject,
  envelope: Omit<LedgerEnvelope, 'v'>,
  fields: LedgerFields,
): string {
  const entry = JSON.stringify({ v: 1, ...envelope, ...fields });
  return `${sign(null, signedText(entry), key).toString('hex')} ${entry}`;
}

/** Returns what the next entry names as the one before: SHA-256 of this line's entry in hex. */
export function hashOfLine(line: string): string {
  return hash('sha256', entryOf(line), 'hex');
}

/** Reads a line without checking its signature; undefined where it is none. */
export function tryParseLedgerLine(line: string): LedgerEntry | undefined {
  try {
    const entry: unknown = JSON.parse(entryOf(line));
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { v, n, previous, kind, stream } = entry as Record<string, unknown>; // narrowed below
    const fits =
      v === 1 && Number.isSafeInteger(n) && isHex(previous, 32) && typeof kind === 'string';
    return fits && typeof stream === 'string' ? (entry as LedgerEntry) : undefined; // fields of a kind are checked where they are used
  } catch {
    return undefined;
  }
}

/** Whether a line was signed with a key. */
export function isSignedLine(key: KeyObject, line: string): boolean {
  const signature = line.slice(0, 2 * signatureBytes);
  if (!isHex(signature, signatureBytes) || line[2 * signatureBytes] !== ' ') return false;
  return verify(null, signedText(entryOf(line)), key, Buffer.from(signature, 'hex'));
}

function entryOf(line: string): string {
  return line.slice(2 * signatureBytes + 1);
}

function signedText(entry: string): Buffer {
  return Buffer.from(`chaperone/ledger/v1\n${entry}`);
}

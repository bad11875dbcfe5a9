import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import type { RecordHeader } from './kinds.ts';

/** Length of an Ed25519 public key in bytes (RFC 8032). */
export const publicKeyBytes = 32;
/** Length of an Ed25519 signature in bytes. */
export const signatureBytes = 64;

/** What stands in a checkpoint that nobody has signed: its process was killed before it could. */
export const unsigned = '0'.repeat(2 * signatureBytes);
/** What stands in a checkpoint for the link that is still to be computed. */
export const unlinked = '0'.repeat(64);

/** Every how many records, and after how many milliseconds with and without records, a stream is signed. */
export const checkpointEvery = { records: 1_000, busyMs: 1_000, idleMs: 10_000 } as const;

/** Returns what a checkpoint signs: `chaperone/v1`, stream, seq and link of the record before it, a line each. */
export function checkpointText(stream: string, seq: number, link: Buffer): Buffer {
  return Buffer.from(`chaperone/v1\n${stream}\n${seq}\n${link.toString('hex')}`);
}

/** Signs the record at `seq` with its link. Returns the signature in lower-case hex. */
export function signCheckpoint(
  key: KeyObject,
  at: { readonly stream: string; readonly seq: number; readonly link: Buffer },
): string {
  return sign(null, checkpointText(at.stream, at.seq, at.link), key).toString('hex');
}

/** What a checkpoint says of the record before it; undefined where nobody signed it. */
export type CheckpointVerdict = 'signed' | 'unsigned' | 'forged';

/**
 * Checks a checkpoint's signature over the link that it names itself. Whether that link is the one of the chain is for
 * the caller to compare.
 */
export function judgeCheckpoint(
  publicKey: KeyObject,
  header: Extract<RecordHeader, { kind: 'checkpoint' }>,
): CheckpointVerdict {
  if (header.signature === unsigned) return 'unsigned';
  if (!isHex(header.signature, signatureBytes) || !isHex(header.link, 32)) return 'forged';
  const text = checkpointText(header.stream, header.seq - 1, Buffer.from(header.link, 'hex'));
  return verify(null, text, publicKey, Buffer.from(header.signature, 'hex')) ? 'signed' : 'forged';
}

// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 section 4).
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** Makes a key of its 32 bytes in hex; undefined for anything else. */
export function tryParsePublicKey(hex: unknown): KeyObject | undefined {
  if (!isHex(hex, publicKeyBytes)) return undefined;
  const der = Buffer.concat([spkiPrefix, Buffer.from(hex, 'hex')]);
  return createPublicKey({ key: der, format: 'der', type: 'spki' });
}

/** Returns the 32 bytes of an Ed25519 public key in lower-case hex. */
export function publicKeyHex(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).subarray(spkiPrefix.length).toString('hex');
}

/** Whether a value is `bytes` bytes in lower-case hex. */
export function isHex(value: unknown, bytes: number): value is string {
  return typeof value === 'string' && value.length === 2 * bytes && /^[0-9a-f]*$/.test(value);
}

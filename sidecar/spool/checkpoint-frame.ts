import { crc32 } from 'node:zlib';
import { signatureBytes, unlinked, unsigned } from '#core/record/checkpoint.ts';
import { prefixBytes } from '#core/record/frame.ts';
import type { RecordFields } from '#core/record/kinds.ts';

/** A checkpoint as it is written first: it has its place and its length, and nobody has signed it yet. */
export const pendingCheckpoint: RecordFields = {
  kind: 'checkpoint',
  link: unlinked,
  signature: unsigned,
};

const beforeLink = '{"v":1,"kind":"checkpoint","link":"';
const beforeSignature = '","signature":"';
const linkAt = prefixBytes + beforeLink.length;
const signatureAt = linkAt + unlinked.length + beforeSignature.length;
const whole = new RegExp(
  `^${beforeLink.replaceAll('{', '\\{')}[0-9a-f]{64}${beforeSignature}[0-9a-f]{${2 * signatureBytes}}","stream":"([0-9a-f-]{36})","seq":(\\d+),"time":"[0-9TZ:.-]+","monoNs":\\d+\\}$`,
);

/** Puts link and signature, in hex, into the frame of a checkpoint. */
export function completeCheckpoint(frame: Buffer, link: string, signature: string): void {
  frame.write(link, linkAt, 'latin1');
  frame.write(signature, signatureAt, 'latin1');
  frame.writeUInt32BE(crc32(frame.subarray(8)), 4);
}

/**
 * Mends the frame of a checkpoint whose completion was cut short: the process was killed while it wrote link and signature
 * over the zeros. It was not shipped before that, so it becomes the unsigned one again. Returns undefined for anything
 * else than the checkpoint that is due there.
 */
export function tryMendCheckpoint(
  bytes: Buffer,
  offset: number,
  due: { readonly stream: string; readonly seq: number },
): Buffer | undefined {
  if (bytes.length - offset < signatureAt) return undefined;
  const length = 8 + bytes.readUInt32BE(offset);
  const frame = Buffer.from(bytes.subarray(offset, offset + length));
  if (frame.length !== length || length < signatureAt) return undefined;
  if (frame.readUInt32BE(8) !== length - prefixBytes) return undefined;
  const [, stream, seq] = whole.exec(frame.toString('latin1', prefixBytes)) ?? [];
  if (stream !== due.stream || Number(seq) !== due.seq) return undefined;
  completeCheckpoint(frame, unlinked, unsigned);
  return frame;
}

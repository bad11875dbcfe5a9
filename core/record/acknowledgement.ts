import { sign, verify, type KeyObject } from 'node:crypto';
import type { StreamHead } from './kinds.ts';
import { isHex, signatureBytes } from './checkpoint.ts';

/**
 * What a collector answers to a batch: up to where the stream is committed without a gap, signed with the collector's own
 * key. A link of undefined is that of a head which nothing proves yet, behind a batch that did not verify.
 */
export interface Acknowledgement {
  readonly stream: string;
  readonly seq: number;
  readonly link: string | undefined;
  /** In lower-case hex. */
  readonly signature: string;
}

/** Signs what is committed. */
export function signAcknowledgement(
  key: KeyObject,
  { stream, seq, link }: Omit<Acknowledgement, 'signature'>,
): Acknowledgement {
  return {
    stream,
    seq,
    link,
    signature: sign(null, textOf(stream, seq, link), key).toString('hex'),
  };
}

/** Whether an acknowledgement was signed with a key. */
export function isAcknowledged(
  key: KeyObject,
  { stream, seq, link, signature }: Acknowledgement,
): boolean {
  if (!isHex(signature, signatureBytes)) return false;
  return verify(null, textOf(stream, seq, link), key, Buffer.from(signature, 'hex'));
}

function textOf(stream: string, seq: number, link: StreamHead['link'] | undefined): Buffer {
  return Buffer.from(`chaperone/ack/v1\n${stream}\n${seq}\n${link ?? ''}`);
}

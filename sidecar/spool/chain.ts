import { hashHeader, firstLink, nextLink } from '#core/record/chain.ts';
import { unsigned } from '#core/record/checkpoint.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import type { Head } from './head.ts';
import { OpenRecords } from './open-records.ts';

/** Where a walk through a stream's records is: their link, and what they leave open. */
export class Chain {
  readonly stream: string;
  readonly open: OpenRecords;
  /** Of the last record that was added. */
  seq: number;
  monoNs: number;
  ended: boolean;
  /** Undefined where it is not known, behind records that are lost. */
  #link: Buffer | undefined;

  constructor(stream: string, head?: Head) {
    this.stream = stream;
    this.seq = head?.seq ?? 0;
    this.monoNs = head?.monoNs ?? 0;
    this.ended = head?.ended ?? false;
    if (!head) this.#link = firstLink(stream);
    else if (head.link !== undefined) this.#link = Buffer.from(head.link, 'hex');
    this.open = OpenRecords.from(head?.open ?? []);
  }

  get link(): Buffer | undefined {
    return this.#link;
  }

  get head(): Head {
    const { stream, seq, monoNs, ended, open } = this;
    return { stream, seq, link: this.#link?.toString('hex'), monoNs, ended, open: open.entries };
  }

  /** Moves on by the record that comes next. */
  add(header: RecordHeader, headerBytes: Buffer): void {
    if (header.kind === 'checkpoint' && !this.#link && header.signature !== unsigned)
      this.#link = Buffer.from(header.link, 'hex'); // a signed one says what the link was
    this.#link &&= nextLink(this.#link, hashHeader(headerBytes));
    this.seq = header.seq;
    this.monoNs = header.monoNs;
    if (header.kind === 'stream.end') this.ended = true;
    this.open.add(header);
  }

  /** Goes on behind records that are lost, so that the next one is `seq + 1`. */
  skipTo(seq: number): void {
    this.seq = seq;
    this.#link = undefined;
    this.open.doubt();
  }
}

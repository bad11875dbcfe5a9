import { buildErrorResponse, buildReadyForQuery } from '#core/postgres/backend.ts';
import { FrontendTag } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import type { Random } from './random.ts';

/** How a backend departs from the protocol. `none`: it keeps to it. */
export const misbehaviours = [
  'none',
  'other-tag',
  'flipped-byte',
  'lying-length',
  'dropped',
  'doubled',
  'swapped',
  'unasked',
  'noise',
  'cut',
] as const;
export type Misbehaviour = (typeof misbehaviours)[number];

const column = buildMessage(
  'T',
  int16(1),
  'column',
  int32(0),
  int16(0),
  int32(25),
  int16(0xffff),
  int32(-1),
  int16(0), // prettier-ignore
);
const row = (length: number): Buffer =>
  buildMessage('D', int16(1), int32(length), Buffer.alloc(length, 'r'));
const error = buildErrorResponse({ severity: 'ERROR', code: '22012', message: 'division by zero' });
const complete = buildMessage('C', 'SELECT 1');
const ready = buildReadyForQuery('I');
const copyFormat = [Buffer.from([0]), int16(1), int16(0)];
const unasked: readonly Buffer[] = [
  ready,
  error,
  complete,
  row(3),
  buildMessage('1'),
  buildMessage('2'),
  buildMessage('s'),
  buildMessage('n'),
  buildMessage('t', int16(0)),
  buildMessage('G', ...copyFormat),
  buildMessage('W', ...copyFormat),
  buildMessage('V', int32(-1)),
  buildMessage('R', int32(0)),
  buildMessage('K', int32(1), int32(2)),
  buildMessage('Z', Buffer.from('?')),
  buildMessage('E', Buffer.from('no end')),
];
const aside: readonly Buffer[] = [
  buildMessage('N', 'SNOTICE', 'C00000', 'Mnoted', Buffer.from([0])),
  buildMessage('S', 'application_name', 'x'),
  buildMessage('A', int32(7), 'channel', 'payload'),
];

const duringCopy: ReadonlySet<number> = new Set([
  FrontendTag.CopyData,
  FrontendTag.CopyDone,
  FrontendTag.CopyFail,
  FrontendTag.Flush,
  FrontendTag.Sync,
]);

/** Answers messages of a client as PostgreSQL might, by chance, and once departs from the protocol as it is told. */
export class ScriptedBackend {
  readonly #random: Random;
  #misbehaviour: Misbehaviour;
  #skipping = false;
  #copying = false;

  constructor(random: Random, misbehaviour: Misbehaviour) {
    this.#random = random;
    this.#misbehaviour = misbehaviour;
  }

  /** Returns what it says to a message; `close` when it hangs up behind that. */
  answer(tag: number, body: Buffer): { readonly bytes: Buffer; readonly close: boolean } {
    const copying = this.#copying;
    const replies = this.#honest(tag, body);
    const amiss = this.#misbehaviour !== 'none' && this.#random.below(3) === 0;
    // A COPY that meets another message costs the connection: nobody knows where the next message begins.
    const close = tag === FrontendTag.Terminate || (copying && !duringCopy.has(tag));
    if (!amiss) return { bytes: Buffer.concat(replies), close };
    const kind = this.#misbehaviour;
    this.#misbehaviour = 'none';
    return { bytes: this.#amiss(kind, replies), close: close || kind === 'cut' };
  }

  #amiss(kind: Misbehaviour, replies: readonly Buffer[]): Buffer {
    const random = this.#random;
    const bytes = Buffer.concat(replies);
    switch (kind) {
      case 'other-tag':
        if (bytes.length > 0) bytes[0] = random.below(256);
        return bytes;
      case 'flipped-byte':
        if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
        return bytes;
      case 'lying-length': {
        const last = replies.at(-1) ?? Buffer.alloc(0);
        const lie = random.pick([0, 1, 3, 4, 5, last.length + 1, 0x7fff_ffff, 0xffff_ffff, 70_000]);
        if (last.length > 0) bytes.writeUInt32BE(lie, bytes.length - last.length + 1);
        return Buffer.concat([bytes, random.bytes(random.below(20))]);
      }
      case 'dropped':
        return Buffer.concat(replies.slice(1));
      case 'doubled':
        return Buffer.concat([...replies, ...replies.slice(-1)]);
      case 'swapped':
        return Buffer.concat(replies.toReversed());
      case 'unasked':
        return Buffer.concat([bytes, random.pick(unasked)]);
      case 'noise':
        return Buffer.concat([bytes, random.bytes(1 + random.below(40))]);
      default:
        return bytes.subarray(0, random.below(bytes.length + 1));
    }
  }

  #honest(tag: number, body: Buffer): Buffer[] {
    const asides = this.#random.below(10) === 0 ? [this.#random.pick(aside)] : [];
    return [...asides, ...this.#replies(tag, body)];
  }

  #replies(tag: number, body: Buffer): Buffer[] {
    if (this.#copying) return this.#duringCopy(tag);
    if (tag === FrontendTag.Sync) {
      this.#skipping = false;
      return [ready];
    }
    if (this.#skipping) return [];
    const mayNameUnknown = tag === FrontendTag.Execute || tag === FrontendTag.Query;
    const namesUnknown = mayNameUnknown && body.includes('chaperone_');
    if (namesUnknown || this.#random.below(12) === 0) return this.#fail(tag);
    switch (tag) {
      case FrontendTag.Query:
        return this.#query();
      case FrontendTag.Parse:
        return [buildMessage('1')];
      case FrontendTag.Bind:
        return [buildMessage('2')];
      case FrontendTag.Close:
        return [buildMessage('3')];
      case FrontendTag.Describe: {
        const columns = this.#random.below(3) > 0 ? column : buildMessage('n');
        return body[0] === 0x53 /* S */ ? [buildMessage('t', int16(0)), columns] : [columns];
      }
      case FrontendTag.Execute:
        return this.#rows([complete, complete, buildMessage('s'), buildMessage('I')]);
      case FrontendTag.FunctionCall:
        return [buildMessage('V', int32(1), Buffer.from('v')), ready];
      default:
        return [];
    }
  }

  #fail(tag: number): Buffer[] {
    if (tag === FrontendTag.Query || tag === FrontendTag.FunctionCall) return [error, ready];
    if (tag === FrontendTag.Flush || tag === FrontendTag.Terminate) return [];
    this.#skipping = true;
    return [error];
  }

  #rows(ends: readonly Buffer[]): Buffer[] {
    const rows = Array.from({ length: this.#random.below(4) }, () => row(this.#random.below(300)));
    return [...rows, this.#random.pick(ends)];
  }

  #query(): Buffer[] {
    switch (this.#random.below(6)) {
      case 0:
        return [buildMessage('I'), ready];
      case 1: {
        const data = buildMessage('d', Buffer.from('copied\n'));
        const done = buildMessage('c');
        return [buildMessage('H', ...copyFormat), data, data, done, complete, ready];
      }
      case 2:
        this.#copying = true;
        return [buildMessage('G', ...copyFormat)];
      default:
        return [column, ...this.#rows([complete]), ready];
    }
  }

  #duringCopy(tag: number): Buffer[] {
    if (tag === FrontendTag.CopyData || tag === FrontendTag.Sync || tag === FrontendTag.Flush)
      return [];
    this.#copying = false;
    if (tag === FrontendTag.CopyDone) return [complete, ready];
    return tag === FrontendTag.CopyFail ? [error, ready] : [error];
  }
}

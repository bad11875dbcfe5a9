import { createHash, type Hash } from 'node:crypto';
import { ChaperoneError } from '../errors.ts';
import { isUuid } from '../uuid.ts';
import { isHex } from './checkpoint.ts';
import { maxFrameBytes, tryParseFrame, type Frame } from './frame.ts';

/** What an export begins with. */
export const exportStart = Buffer.from('chaperone/export/v1\n');

/** Says what an export is of; its first item. */
export interface Manifest {
  readonly v: 1;
  readonly of: 'session' | 'stream';
  readonly stream: string;
  /** Of the export of a session. */
  readonly session?: string | undefined;
  /** The last record that retention dropped, and the link there in lower-case hex. */
  readonly cut?: { readonly seq: number; readonly link: string } | undefined;
}

/** An item of an export, as `docs/audit-format.md` describes each. */
export type ExportItem =
  | { readonly type: 'M'; readonly manifest: Manifest }
  | { readonly type: 'L'; readonly line: string }
  | { readonly type: 'F'; readonly frame: Frame }
  /** Of one record or more, 32 bytes each. */
  | { readonly type: 'H'; readonly hashes: Buffer }
  | { readonly type: 'J'; readonly to: number }
  | { readonly type: 'S'; readonly stream: string }
  | { readonly type: 'E' };

type ItemType = ExportItem['type'];

/** Largest body of an item in bytes, by its type. */
export const maxItemBytes: Readonly<Record<ItemType, number>> = {
  M: 65_536,
  L: 1_048_576,
  F: maxFrameBytes + 8,
  H: 1_048_576,
  J: 1_024,
  S: 1_024,
  E: 32,
};

const prefixBytes = 5; // u8 type, u32 length
const hashBytes = 32;

/** Builds an export piece by piece; the caller says what, in the order that the format wants. */
export class ExportWriter {
  readonly #hash = createHash('sha256');

  /** Returns the beginning with the manifest. */
  begin(manifest: Manifest): Buffer {
    return this.#hashed(Buffer.concat([exportStart, encodeItem('M', jsonBody(manifest))]));
  }

  ledgerLine(line: string): Buffer {
    return this.#hashed(encodeItem('L', Buffer.from(line)));
  }

  /** Takes a whole frame. */
  frame(bytes: Buffer): Buffer {
    return this.#hashed(encodeItem('F', bytes));
  }

  /** Takes hashes of headers, 32 bytes each; of none nothing is written. */
  hashes(hashes: Buffer): Buffer {
    const items: Buffer[] = [];
    for (let at = 0; at < hashes.length; at += maxItemBytes.H)
      items.push(encodeItem('H', hashes.subarray(at, at + maxItemBytes.H)));
    return this.#hashed(Buffer.concat(items));
  }

  jump(to: number): Buffer {
    return this.#hashed(encodeItem('J', jsonBody({ to })));
  }

  successor(stream: string): Buffer {
    return this.#hashed(encodeItem('S', jsonBody({ stream })));
  }

  /** Returns the last item. */
  end(): Buffer {
    return encodeItem('E', this.#hash.digest());
  }

  #hashed(bytes: Buffer): Buffer {
    this.#hash.update(bytes);
    return bytes;
  }
}

/**
 * Takes an export out of its bytes, however they are cut. Holds at most one item: a length is checked before anything is
 * kept for it. Frames and hashes are views into what was pushed, or into a copy of it.
 */
export class ExportReader {
  readonly #hash: Hash = createHash('sha256');
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Length of the item that comes, with its prefix; 0 while that is not known. */
  #itemBytes = 0;
  #state: 'start' | 'manifest' | 'lines' | 'records' | 'ended' = 'start';

  /** Yields the items that are whole now. @throws ChaperoneError `record-invalid` for what is no export. */
  *push(piece: Buffer): Generator<ExportItem> {
    if (piece.length > 0) this.#held.push(piece);
    this.#heldBytes += piece.length;
    while (this.#state !== 'ended') {
      const bytes = this.#tryTake();
      if (!bytes) return;
      if (this.#state === 'start') this.#begin(bytes);
      else yield this.#item(bytes);
    }
    if (this.#heldBytes > 0) throw invalid('something behind its end');
  }

  /** Says that nothing follows. @throws ChaperoneError `record-invalid` when something is missing. */
  end(): void {
    if (this.#state !== 'ended') throw invalid('no end: it is cut short');
  }

  #tryTake(): Buffer | undefined {
    if (this.#state === 'start') return this.#tryTakeBytes(exportStart.length);
    if (this.#itemBytes === 0 && this.#heldBytes >= prefixBytes) {
      if ((this.#held[0]?.length ?? 0) < prefixBytes) this.#held = [Buffer.concat(this.#held)];
      this.#itemBytes = itemBytes(this.#held[0] ?? Buffer.alloc(0));
    }
    if (this.#itemBytes === 0) return undefined;
    const item = this.#tryTakeBytes(this.#itemBytes);
    if (item) this.#itemBytes = 0;
    return item;
  }

  #tryTakeBytes(length: number): Buffer | undefined {
    if (this.#heldBytes < length) return undefined;
    const [first = Buffer.alloc(0)] = this.#held;
    const whole = first.length >= length ? first : Buffer.concat(this.#held);
    const others = first.length >= length ? this.#held.slice(1) : [];
    const rest = whole.subarray(length);
    this.#held = rest.length > 0 ? [rest, ...others] : others;
    this.#heldBytes -= length;
    return whole.subarray(0, length);
  }

  #begin(bytes: Buffer): void {
    if (!bytes.equals(exportStart)) throw invalid('another beginning than that of an export');
    this.#hash.update(bytes);
    this.#state = 'manifest';
  }

  #item(bytes: Buffer): ExportItem {
    const type = typeOf(bytes);
    const body = bytes.subarray(prefixBytes);
    if ((type === 'M') !== (this.#state === 'manifest'))
      throw invalid('its manifest in another place than the first');
    if (type === 'E') {
      if (!this.#hash.digest().equals(body)) throw invalid('an end that does not fit what it ends');
      this.#state = 'ended';
      return { type };
    }
    this.#hash.update(bytes);
    if (type === 'L' && this.#state === 'records')
      throw invalid('a line of the ledger among the records');
    this.#state = type === 'M' || type === 'L' ? 'lines' : 'records';
    return parseItem(type, body);
  }
}

/** Reads an export piece by piece. @throws ChaperoneError `record-invalid` for what is no export. */
export async function* readExport(pieces: AsyncIterable<Buffer>): AsyncGenerator<ExportItem> {
  const reader = new ExportReader();
  for await (const piece of pieces) yield* reader.push(piece);
  reader.end();
}

function encodeItem(type: ItemType, body: Buffer): Buffer {
  if (body.length > maxItemBytes[type])
    throw new RangeError(`an item ${type} of ${body.length} bytes`);
  const bytes = Buffer.allocUnsafe(prefixBytes + body.length);
  bytes.write(type, 'latin1');
  bytes.writeUInt32BE(body.length, 1);
  body.copy(bytes, prefixBytes);
  return bytes;
}

function jsonBody(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Returns the length of an item by its prefix. */
function itemBytes(prefix: Buffer): number {
  const type = typeOf(prefix);
  const length = prefix.readUInt32BE(1);
  const fits =
    type === 'H'
      ? length > 0 && length % hashBytes === 0
      : type === 'E'
        ? length === hashBytes
        : true;
  if (length > maxItemBytes[type] || !fits) throw invalid(`an item ${type} of ${length} bytes`);
  return prefixBytes + length;
}

function typeOf(bytes: Buffer): ItemType {
  const type = bytes.toString('latin1', 0, 1);
  if (!isItemType(type)) throw invalid('an item of an unknown type');
  return type;
}

function isItemType(type: string): type is ItemType {
  return Object.hasOwn(maxItemBytes, type);
}

function parseItem(type: Exclude<ItemType, 'E'>, body: Buffer): ExportItem {
  switch (type) {
    case 'M':
      return { type, manifest: parseManifest(body) };
    case 'L':
      return { type, line: decode(body) };
    case 'F':
      return { type, frame: parseFrame(body) };
    case 'H':
      return { type, hashes: body };
    case 'J': {
      const { to } = parseObject(body);
      if (!isSeq(to)) throw invalid('a jump to nowhere');
      return { type, to };
    }
    case 'S': {
      const { stream } = parseObject(body);
      if (!isUuid(stream)) throw invalid('a successor without an id');
      return { type, stream };
    }
  }
}

function parseFrame(body: Buffer): Frame {
  const frame = tryParseFrame(body);
  if (frame?.length !== body.length)
    throw invalid('a record that is not as long as the item that holds it');
  return frame;
}

function parseManifest(body: Buffer): Manifest {
  const { v, of, stream, session, cut } = parseObject(body);
  if (v !== 1) throw invalid('a manifest of another version');
  if (!isUuid(stream)) throw invalid('a manifest without a stream');
  const from = cut === undefined ? undefined : parseCut(cut);
  if (of === 'stream') return { v, of, stream, cut: from };
  if (of !== 'session' || !isUuid(session)) throw invalid('a manifest that does not say of what');
  return { v, of, stream, session, cut: from };
}

function parseCut(value: unknown): { seq: number; link: string } {
  if (typeof value !== 'object' || value === null) throw invalid('a cut at no place');
  const { seq, link } = value as Record<string, unknown>; // checked here
  if (!isSeq(seq) || !isHex(link, hashBytes)) throw invalid('a cut at no place');
  return { seq, link };
}

function parseObject(body: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(decode(body));
  } catch (cause) {
    throw new ChaperoneError('record-invalid', 'an item that is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('an item that is no object');
  return { ...value };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(body: Buffer): string {
  try {
    return utf8.decode(body);
  } catch (cause) {
    throw new ChaperoneError('record-invalid', 'an item that is not UTF-8', { cause });
  }
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0; // isSafeInteger does not narrow
}

function invalid(what: string): ChaperoneError {
  return new ChaperoneError('record-invalid', `the export has ${what}`);
}

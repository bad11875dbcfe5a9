import { unsigned } from './checkpoint.ts';
import { ExportWriter, type Manifest } from './export.ts';
import { tryReadClaim } from './verify-ledger.ts';

/** A record as an export takes it. */
export interface ExportedRecord {
  readonly seq: number;
  readonly isSignedCheckpoint: boolean;
  /** SHA-256 of its header, 32 bytes. */
  readonly headerHash: Buffer;
  /** Absent where the hash is enough: the record is neither asked for, nor the stream's first, nor a checkpoint. */
  readonly frame: Buffer | undefined;
}

/** Which records are to come with their frames. */
export interface RecordsWanted {
  readonly stream: string;
  /** The first ones are behind this seq. */
  readonly after: number;
  readonly upTo: number;
  /** `all`, or those of one session, or none. */
  readonly frames: 'all' | 'none' | { readonly session: string };
}

/** Where the records of an export come from. None of it is checked: that is for who verifies the export. */
export interface ExportSource {
  /** The last record that retention dropped. */
  cut(stream: string): Promise<Manifest['cut']>;
  /** Seq of the last record, 0 where there is none. */
  lastSeq(stream: string): Promise<number>;
  /** Records in the order of their seqs. */
  records(wanted: RecordsWanted): AsyncIterable<ExportedRecord>;
  /** Seqs of the session's next record behind a place, and of its last one. */
  ofSession(place: {
    readonly stream: string;
    readonly session: string;
    readonly after: number;
  }): Promise<{ readonly next: number | undefined; readonly last: number | undefined }>;
  /** The first or last signed checkpoint of which the seq is between two others. */
  signedCheckpoint(
    which: 'first' | 'last',
    between: { readonly stream: string; readonly after: number; readonly before: number },
  ): Promise<number | undefined>;
  /** The stream that names this one as the one before. */
  successor(stream: string): Promise<string | undefined>;
  /** Lines about streams, in the order of the ledger. */
  ledgerLines(streams: readonly string[]): AsyncIterable<string>;
}

/** What is exported. */
export interface ExportWanted {
  readonly stream: string;
  /** Of the export of a session. */
  readonly session?: string | undefined;
}

/** Successors that are followed until one has signed something: those of a process that is restarted in a loop. */
const maxSuccessors = 16;
/** Hashes that are gathered for one item. */
const maxHashes = 4_096;

/** Builds an export piece by piece, as `docs/audit-format.md` describes it. Memory does not grow with its length. */
export async function* buildExport(
  source: ExportSource,
  { stream, session }: ExportWanted,
): AsyncGenerator<Buffer> {
  const writer = new ExportWriter();
  const cut = await source.cut(stream);
  const own = session === undefined ? undefined : await source.ofSession({ stream, session, after: 0 }); // prettier-ignore
  const successors = await successorsOf(source, stream, own?.last);
  yield writer.begin({ v: 1, of: session === undefined ? 'stream' : 'session', stream, session, cut }); // prettier-ignore
  const filter = own && new HeadFilter(stream, own.last ?? 0);
  for await (const line of source.ledgerLines([stream, ...successors]))
    if (!filter || filter.wants(line)) yield writer.ledgerLine(line);
  // Behind the lines, so that no line is about a record that is left out because it came later.
  const upTo = await source.lastSeq(stream);
  const after = cut?.seq ?? 0;
  const walk = new Walk(source, writer);
  if (session === undefined) yield* walk.stretch({ stream, after, upTo, frames: 'all' });
  else yield* walk.session({ stream, after, upTo, frames: { session } }, session, own?.last ?? 0);
  for (const next of successors) {
    yield writer.successor(next);
    yield* walk.stretch(
      { stream: next, after: 0, upTo: Number.MAX_SAFE_INTEGER, frames: 'none' },
      () => true,
    );
  }
  yield writer.end();
}

async function successorsOf(
  source: ExportSource,
  stream: string,
  lastOwn: number | undefined,
): Promise<string[]> {
  const found: string[] = [];
  const before = Number.MAX_SAFE_INTEGER;
  if (lastOwn !== undefined && (await source.signedCheckpoint('first', { stream, after: lastOwn, before })) !== undefined) return found; // prettier-ignore
  for (let last = stream; found.length < maxSuccessors;) {
    const next = await source.successor(last);
    if (next === undefined || next === stream || found.includes(next)) break;
    found.push(next);
    if ((await source.signedCheckpoint('first', { stream: next, after: 0, before })) !== undefined) break; // prettier-ignore
    last = next;
  }
  return found;
}

/** Of a stream's many heads, a session needs one that names the key, and the first behind its last record. */
class HeadFilter {
  readonly #stream: string;
  readonly #lastOwn: number;
  readonly #keyed = new Set<string>();
  #covered = false;

  constructor(stream: string, lastOwn: number) {
    this.#stream = stream;
    this.#lastOwn = lastOwn;
  }

  wants(line: string): boolean {
    const claim = tryReadClaim(line);
    if (claim?.kind !== 'head') return true;
    const { stream, seq, link, publicKey } = claim;
    const covers =
      stream === this.#stream && !this.#covered && link !== undefined && seq >= this.#lastOwn;
    this.#covered ||= covers;
    const names = publicKey !== undefined && !this.#keyed.has(stream);
    if (names) this.#keyed.add(stream);
    return covers || names;
  }
}

class Walk {
  readonly #source: ExportSource;
  readonly #writer: ExportWriter;

  constructor(source: ExportSource, writer: ExportWriter) {
    this.#source = source;
    this.#writer = writer;
  }

  /** Writes records one after the other, up to a signed checkpoint that is `enough`. Returns its seq. */
  async *stretch(
    wanted: RecordsWanted,
    enough: (seq: number) => boolean = () => false,
  ): AsyncGenerator<Buffer, number | undefined> {
    let hashes: Buffer[] = [];
    for await (const { seq, isSignedCheckpoint, headerHash, frame } of this.#source.records(
      wanted,
    )) {
      if (!frame) hashes.push(headerHash);
      if (hashes.length > 0 && (frame || hashes.length >= maxHashes)) {
        yield this.#writer.hashes(Buffer.concat(hashes));
        hashes = [];
      }
      if (!frame) continue;
      yield this.#writer.frame(frame);
      if (isSignedCheckpoint && enough(seq)) return seq;
    }
    if (hashes.length > 0) yield this.#writer.hashes(Buffer.concat(hashes));
    return undefined;
  }

  /** Writes the records of a session with all that proves them, and jumps over what does not. */
  async *session(wanted: RecordsWanted, session: string, lastOwn: number): AsyncGenerator<Buffer> {
    const { stream } = wanted;
    for (let after = wanted.after; ;) {
      const signedAt: number | undefined = yield* this.stretch({ ...wanted, after }, () => true);
      if (signedAt === undefined || signedAt > lastOwn) return;
      after = signedAt;
      const { next } = await this.#source.ofSession({ stream, session, after });
      if (next === undefined) return;
      const place = { stream, after: after + 1, before: next };
      const to = await this.#source.signedCheckpoint('last', place);
      if (to === undefined) continue;
      yield this.#writer.jump(to);
      after = to - 1;
    }
  }
}

/** Whether a header is that of a checkpoint that somebody signed; whether rightly is not looked at. */
export function isSignedCheckpoint(headerBytes: Buffer): boolean {
  try {
    const header: unknown = JSON.parse(headerBytes.toString('utf8'));
    if (typeof header !== 'object' || header === null) return false;
    const { kind, signature } = header as Record<string, unknown>; // only compared
    return kind === 'checkpoint' && signature !== unsigned;
  } catch {
    return false; // whoever verifies the export says so
  }
}

import { generateKeyPairSync, randomBytes, randomUUID, type KeyObject } from 'node:crypto';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { publicKeyHex, signCheckpoint, unlinked, unsigned } from '#core/record/checkpoint.ts';
import {
  isSignedCheckpoint,
  type ExportedRecord,
  type ExportSource,
  type RecordsWanted,
} from '#core/record/export-build.ts';
import type { Manifest } from '#core/record/export.ts';
import { encodeFrame, hashPayload } from '#core/record/frame.ts';
import {
  buildLedgerLine,
  hashOfLine,
  ledgerStart,
  type LedgerFields,
} from '#core/record/ledger.ts';
import { tryReadClaim } from '#core/record/verify-ledger.ts';

/** A record as the store has it. */
export interface BuiltRecord {
  seq: number;
  session: string | undefined;
  header: Buffer;
  salt: Buffer;
  payload: Buffer;
}

/** What a test says of a record; what is left out is as an honest sidecar has it. */
export type Fields = Readonly<Record<string, unknown>> & { readonly kind: string };

/** Makes an Ed25519 key pair. */
export function makeKey(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync('ed25519');
}

/** Makes honest streams, record by record. */
export class StreamBuilder {
  readonly stream: string;
  readonly key = makeKey();
  readonly records: BuiltRecord[] = [];
  #link: Buffer;
  readonly #numbers = new Map<string, number>();

  constructor(stream: string = randomUUID()) {
    this.stream = stream;
    this.#link = firstLink(stream);
  }

  get seq(): number {
    return this.records.length;
  }

  /** Link of the last record, in hex. */
  get link(): string {
    return this.#link.toString('hex');
  }

  get publicKey(): string {
    return publicKeyHex(this.key.publicKey);
  }

  get frames(): Buffer[] {
    return this.records.map(frameOf);
  }

  /** Appends a record and returns its seq. */
  add(fields: Fields, text = '', session?: string): number {
    const seq = this.seq + 1;
    const payload = Buffer.from(text);
    const salt = payload.length > 0 ? randomBytes(16) : Buffer.alloc(0);
    const n = session === undefined ? undefined : (this.#numbers.get(session) ?? 0) + 1;
    if (session !== undefined && n !== undefined) this.#numbers.set(session, n);
    const header = Buffer.from(
      JSON.stringify({
        v: 1,
        stream: this.stream,
        seq,
        time: new Date(1_760_000_000_000 + seq).toISOString().replace('Z', '000Z'),
        monoNs: seq * 1_000,
        session,
        n,
        ...fields,
        ...(payload.length > 0
          ? { payload: { length: payload.length, hash: hashPayload(salt, payload) } }
          : {}),
      }),
    );
    this.records.push({ seq, session, header, salt, payload });
    this.#link = nextLink(this.#link, hashHeader(header));
    return seq;
  }

  start(previous?: { stream: string; seq: number; link: string }): this {
    const pod = { 'k8s.pod.name': 'local', 'k8s.namespace.name': 'local', 'service.account': 'local' }; // prettier-ignore
    this.add({ kind: 'stream.start', 'service.version': '1', ...pod, publicKey: this.publicKey, previous }); // prettier-ignore
    return this;
  }

  /** Signs the last record, or leaves room for a signature that never came. */
  checkpoint(sign = true): this {
    const at = { stream: this.stream, seq: this.seq, link: this.#link };
    const signature = sign ? signCheckpoint(this.key.privateKey, at) : unsigned;
    this.add({ kind: 'checkpoint', link: sign ? this.link : unlinked, signature });
    return this;
  }

  begin(session: string): this {
    const principal = { kind: 'token', user: 'analyst@example.com' };
    const revision = 'r';
    this.add({ kind: 'session.start', protocol: 'Postgres', backend: 'shop', principal, revision }, '{"user":"analyst"}', session); // prettier-ignore
    return this;
  }

  /** A request with its result. */
  query(session: string, sql: string): this {
    const verdict = { action: 'Allow', wouldBe: 'Allow', reason: 'default-action', revision: 'r' };
    const request = this.add({ kind: 'request', payloadType: 'postgres.query', verdict }, sql, session); // prettier-ignore
    this.add({ kind: 'result', request, status: 'ok', bytesUp: 1, bytesDown: 1, durationUs: 10 }, `rows of ${sql}`, session); // prettier-ignore
    return this;
  }

  finish(session: string): this {
    const count = (this.#numbers.get(session) ?? 0) + 1;
    this.add({ kind: 'session.end', reason: 'agent-closed', count, durationMs: 1 }, '', session);
    return this;
  }

  end(reason: 'stopped' | 'recovered' = 'stopped'): this {
    this.add({ kind: 'stream.end', reason });
    return this;
  }

  /** What the ledger says of the stream as it is now. */
  head(): Extract<LedgerFields, { kind: 'head' }> {
    const { stream, seq, link, publicKey } = this;
    return { kind: 'head', stream, seq, link, publicKey, pod: 'local', namespace: 'local', serviceAccount: 'local' }; // prettier-ignore
  }

  /** The link behind a record. */
  linkAt(seq: number): string {
    return linkOf(this.stream, this.records.slice(0, seq));
  }
}

/** Returns the link that records lead to, in hex. */
export function linkOf(stream: string, records: readonly BuiltRecord[]): string {
  return records
    .reduce((link, { header }) => nextLink(link, hashHeader(header)), firstLink(stream))
    .toString('hex');
}

/** Returns a record's frame, with a CRC that fits whatever is in it. */
export function frameOf({ header, salt, payload }: BuiltRecord): Buffer {
  return encodeFrame(header, salt, payload);
}

/** Makes an honest ledger, line by line. */
export class LedgerBuilder {
  readonly key: ReturnType<typeof makeKey>;
  readonly lines: string[] = [];

  constructor(key = makeKey()) {
    this.key = key;
  }

  add(fields: LedgerFields): this {
    const last = this.lines.at(-1);
    const previous = last === undefined ? ledgerStart : hashOfLine(last);
    const n = this.lines.length + 1;
    const time = new Date(1_760_000_000_000 + n).toISOString();
    this.lines.push(buildLedgerLine(this.key.privateKey, { n, previous, time }, fields));
    return this;
  }
}

/** What a store holds, for whoever exports from it: as a test left it, honest or not. */
export class MemoryStore implements ExportSource {
  readonly streams = new Map<string, BuiltRecord[]>();
  readonly cuts = new Map<string, Manifest['cut']>();
  readonly successors = new Map<string, string>();
  lines: string[] = [];

  put({ stream, records }: StreamBuilder): this {
    this.streams.set(stream, records.map((record) => ({ ...record }))); // prettier-ignore
    return this;
  }

  async cut(stream: string): Promise<Manifest['cut']> {
    return this.cuts.get(stream);
  }

  async lastSeq(stream: string): Promise<number> {
    return Math.max(0, ...this.#of(stream).map(({ seq }) => seq));
  }

  async *records({ stream, after, upTo, frames }: RecordsWanted): AsyncGenerator<ExportedRecord> {
    for (const record of this.#of(stream)) {
      const { seq, header, session } = record;
      if (seq <= after || seq > upTo) continue;
      const own = typeof frames === 'object' && frames.session === session;
      const shown = frames === 'all' || own || seq === 1 || isSignedCheckpoint(header);
      yield {
        seq,
        isSignedCheckpoint: isSignedCheckpoint(header),
        headerHash: hashHeader(header),
        frame: shown ? frameOf(record) : undefined,
      };
    }
  }

  async ofSession({ stream, session, after }: Parameters<ExportSource['ofSession']>[0]): Promise<{
    next: number | undefined;
    last: number | undefined;
  }> {
    const own = this.#of(stream).filter((record) => record.session === session);
    return { next: own.find(({ seq }) => seq > after)?.seq, last: own.at(-1)?.seq };
  }

  async signedCheckpoint(
    which: 'first' | 'last',
    { stream, after, before }: Parameters<ExportSource['signedCheckpoint']>[1],
  ): Promise<number | undefined> {
    const found = this.#of(stream).filter(
      ({ seq, header }) => seq > after && seq < before && isSignedCheckpoint(header),
    );
    return found.at(which === 'first' ? 0 : -1)?.seq;
  }

  async successor(stream: string): Promise<string | undefined> {
    return this.successors.get(stream);
  }

  async *ledgerLines(streams: readonly string[]): AsyncGenerator<string> {
    for (const line of this.lines) {
      const claim = tryReadClaim(line);
      if (claim && streams.includes(claim.stream)) yield line;
    }
  }

  #of(stream: string): BuiltRecord[] {
    return this.streams.get(stream) ?? [];
  }
}

import { generateKeyPairSync, randomBytes, randomUUID, type KeyObject } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import type { WriterIdentity } from '#core/control.ts';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { publicKeyHex, signCheckpoint, unlinked, unsigned } from '#core/record/checkpoint.ts';
import { encodeFrame, hashPayload } from '#core/record/frame.ts';
import type { StreamHead } from '#core/record/kinds.ts';

export interface AuthorOptions {
  readonly stream?: string;
  readonly identity?: WriterIdentity;
  readonly now?: () => number;
}

export const localIdentity: WriterIdentity = {
  pod: 'local',
  namespace: 'local',
  serviceAccount: 'local',
};

/** A made-up sidecar: writes one stream with its chain and signatures, as frames that a collector takes. */
export class StreamAuthor {
  readonly stream: string;
  readonly identity: WriterIdentity;
  readonly key: KeyObject;
  readonly publicKey: string;
  seq = 0;
  link: Buffer;
  readonly #now: () => number;
  readonly #numbers = new Map<string, number>();

  constructor({
    stream = randomUUID(),
    identity = localIdentity,
    now = Date.now,
  }: AuthorOptions = {}) {
    const pair = generateKeyPairSync('ed25519');
    this.key = pair.privateKey;
    this.publicKey = publicKeyHex(pair.publicKey);
    this.stream = stream;
    this.identity = identity;
    this.#now = now;
    this.link = firstLink(stream);
  }

  get head(): StreamHead {
    return { stream: this.stream, seq: this.seq, link: this.link.toString('hex') };
  }

  /** The first record. */
  start(fields: object = {}): Buffer {
    return this.record({
      kind: 'stream.start',
      'service.version': 'test',
      'k8s.pod.name': this.identity.pod,
      'k8s.namespace.name': this.identity.namespace,
      'service.account': this.identity.serviceAccount,
      publicKey: this.publicKey,
      ...fields,
    });
  }

  /** Any record: what is not given of its envelope is filled in. */
  record(fields: Readonly<Record<string, unknown>>, payload: string | Buffer = ''): Buffer {
    this.seq += 1;
    const bytes = Buffer.from(payload);
    const salt = bytes.length > 0 ? randomBytes(16) : Buffer.alloc(0);
    const session = typeof fields['session'] === 'string' ? fields['session'] : undefined;
    const n = session === undefined ? undefined : (this.#numbers.get(session) ?? 0) + 1;
    if (session !== undefined && n !== undefined) this.#numbers.set(session, n);
    const header = Buffer.from(
      JSON.stringify({
        v: 1,
        stream: this.stream,
        seq: this.seq,
        time: new Date(this.#now()).toISOString().replace('Z', '000Z'),
        monoNs: this.seq * 1_000,
        n,
        ...fields,
        ...(bytes.length > 0
          ? { payload: { length: bytes.length, hash: hashPayload(salt, bytes) } }
          : {}),
      }),
    );
    this.link = nextLink(this.link, hashHeader(header));
    return encodeFrame(header, salt, bytes);
  }

  /** So many records with a payload each. */
  records(count: number, fields: object = {}): Buffer[] {
    return Array.from({ length: count }, () =>
      this.record({ kind: 'part', ...fields }, `payload ${this.seq + 1}`),
    );
  }

  checkpoint(fields: object = {}): Buffer {
    const { stream, seq, link } = this;
    const signature = signCheckpoint(this.key, { stream, seq, link });
    return this.record({ kind: 'checkpoint', link: link.toString('hex'), signature, ...fields });
  }

  unsignedCheckpoint(): Buffer {
    return this.checkpoint({ link: unlinked, signature: unsigned });
  }

  end(reason = 'stopped'): Buffer {
    return this.record({ kind: 'stream.end', reason });
  }

  /** A session of one statement and so many requests, with its end. */
  session(texts: readonly string[], user = 'u@example.com', id = randomUUID()): Buffer[] {
    const verdict = { action: 'Allow', wouldBe: 'Allow', reason: 'default-action', revision: 'r' };
    const start = {
      kind: 'session.start', protocol: 'Postgres', backend: 'shop', revision: 'r',
      principal: { kind: 'token', user }, payloadType: 'json',
      'server.address': 's', 'server.port': 1, 'client.address': 'c', 'client.port': 2,
    }; // prettier-ignore
    const frames = [
      this.record({ ...start, session: id }, JSON.stringify({ user: 'role', database: 'shop' })),
    ];
    for (const text of texts)
      frames.push(
        this.record({ kind: 'request', session: id, verdict, payloadType: 'postgres.query' }, text),
        this.record({ kind: 'result', session: id, request: this.seq, status: 'ok' }),
      );
    const count = (this.#numbers.get(id) ?? 0) + 1;
    frames.push(this.record({ kind: 'session.end', session: id, reason: 'agent-closed', count }));
    return frames;
  }
}

/** A batch as a sidecar sends it. */
export function batchOf(...frames: readonly Buffer[]): Buffer {
  return zstdCompressSync(Buffer.concat(frames));
}

/** The same bytes with one bit of a byte turned. */
export function flipped(bytes: Buffer, at: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at);
  return copy;
}

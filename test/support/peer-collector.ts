import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:https';
import { once } from 'node:events';
import { zstdDecompressSync } from 'node:zlib';
import { signAcknowledgement } from '#core/record/acknowledgement.ts';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { unsigned } from '#core/record/checkpoint.ts';
import { parseFrames, payloadMatches, tryParseFrame, type Frame } from '#core/record/frame.ts';
import { createLocalCa, type LocalCa } from '../../cli/dev/certificates.ts';

/** What a collector has of a stream. */
export interface PeerStream {
  readonly frames: Map<number, Frame>;
  ackedSeq: number;
  /** Undefined behind records that did not verify, until a signed checkpoint says it. */
  link: Buffer | undefined;
  jump: boolean;
  readonly quarantined: Buffer[];
}

export interface PeerBatch {
  readonly stream: string;
  readonly frames: readonly Frame[];
  readonly bytes: Buffer;
}

export interface PeerAnswer {
  readonly status: number;
  readonly body: object;
}

/** The other end of the wire, for tests of the sidecar's: it keeps batches in memory and answers as the contract says. */
export interface PeerCollector extends AsyncDisposable {
  readonly url: string;
  readonly ca: string;
  /** PEM of the key that it signs with. */
  readonly publicKey: string;
  readonly streams: ReadonlyMap<string, PeerStream>;
  readonly batches: number;
  /** Stands before the answer: what it returns is said in its place. */
  intercept: ((batch: PeerBatch) => PeerAnswer | 'hang' | undefined) | undefined;
  framesOf(stream: string): Frame[];
}

export async function startPeerCollector(authority?: LocalCa): Promise<PeerCollector> {
  const ca = authority ?? (await createLocalCa(Date.now()));
  const keys = generateKeyPairSync('ed25519');
  const streams = new Map<string, PeerStream>();
  let batches = 0;
  const server = createServer(await ca.issue('collector'), (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      batches += 1;
      const batch = readBatch(zstdDecompressSync(Buffer.concat(pieces)));
      const answer = peer.intercept?.(batch) ?? take(batch);
      if (answer === 'hang') return;
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer.body));
    });
  });
  const acknowledge = (stream: string): object => {
    const { ackedSeq = 0, link } = streams.get(stream) ?? {};
    return signAcknowledgement(keys.privateKey, {
      stream,
      seq: ackedSeq,
      link: link?.toString('hex'),
    });
  };
  const take = (batch: PeerBatch): PeerAnswer => {
    const { stream } = batch;
    const state = streams.get(stream) ?? {
      frames: new Map<number, Frame>(),
      ackedSeq: 0,
      link: firstLink(stream),
      jump: false,
      quarantined: [],
    };
    streams.set(stream, state);
    const first = batch.frames[0]?.header.seq ?? 0;
    if (!verifies(state, batch)) {
      state.quarantined.push(batch.bytes);
      state.jump = true;
      return { status: 202, body: { ...acknowledge(stream), quarantined: true } };
    }
    if (first > state.ackedSeq + 1) {
      if (!state.jump) return { status: 409, body: { ackedSeq: state.ackedSeq } };
      state.jump = false;
      state.link = undefined;
    }
    for (const frame of batch.frames) commit(state, frame);
    return { status: 200, body: acknowledge(stream) };
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const peer: PeerCollector = {
    url: `https://127.0.0.1:${port}`,
    ca: ca.certificate,
    publicKey: keys.publicKey.export({ format: 'pem', type: 'spki' }) as string, // as PEM it is text
    streams,
    get batches() {
      return batches;
    },
    intercept: undefined,
    framesOf: (stream) => {
      const { frames } = streams.get(stream) ?? { frames: new Map<number, Frame>() };
      return [...frames.values()].sort((a, b) => a.header.seq - b.header.seq);
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return peer;
}

/** Reads what can be read: a stream has to be told from the first record at least. */
function readBatch(bytes: Buffer): PeerBatch {
  const first = tryParseFrame(bytes);
  if (!first) throw new Error('a batch of nothing');
  let frames: readonly Frame[] = [];
  try {
    frames = [...parseFrames(bytes)];
  } catch {
    // What cannot be read is for the quarantine.
  }
  return { stream: first.header.stream, frames, bytes };
}

function verifies(state: PeerStream, { frames }: PeerBatch): boolean {
  const [first] = frames;
  if (!first) return false;
  return frames.every((frame, index) => {
    const { header, headerBytes } = frame;
    const known = state.frames.get(header.seq);
    return (
      header.stream === first.header.stream &&
      header.seq === first.header.seq + index &&
      payloadMatches(frame) &&
      known?.headerBytes.equals(headerBytes) !== false
    );
  });
}

function commit(state: PeerStream, frame: Frame): void {
  const { header, headerBytes } = frame;
  if (header.seq <= state.ackedSeq) return;
  if (header.kind === 'checkpoint' && header.signature !== unsigned && !state.link)
    state.link = Buffer.from(header.link, 'hex');
  state.link &&= nextLink(state.link, hashHeader(headerBytes));
  state.ackedSeq = header.seq;
  state.frames.set(header.seq, frame);
}

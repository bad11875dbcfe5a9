import { hash } from 'node:crypto';
import { buildExport, type ExportSource, type ExportWanted } from '#core/record/export-build.ts';
import { exportStart } from '#core/record/export.ts';
import { verifyExport, type Report, type Trust } from '#core/record/verify-export.ts';
import type { Verdict } from '#core/record/verify-export.ts';
import { LedgerBuilder, MemoryStore, StreamBuilder } from './stream-builder.ts';

/** A whole log: a stream of two sessions that ended, the stream of the next process, and the ledger about both. */
export interface BuiltLog {
  readonly first: StreamBuilder;
  readonly next: StreamBuilder;
  readonly ledger: LedgerBuilder;
  readonly store: MemoryStore;
  /** Trusts the collector's key. */
  readonly trust: Trust;
}

/** Sessions of the first stream of an honest log: one is early, the other runs through all of it, the third is late. */
export const sessions = {
  early: '01a20d9b-1d85-7411-bd0a-00000000000a',
  long: '01a20d9b-1d85-7411-bd0a-00000000000b',
  late: '01a20d9b-1d85-7411-bd0a-00000000000c',
} as const;

/** Builds an honest log. `until` leaves out what comes later. */
export function honestLog(until: 'stopped' | 'killed' | 'open' = 'stopped'): BuiltLog {
  const { early, long, late } = sessions;
  const ledger = new LedgerBuilder();
  const first = new StreamBuilder('01a20d9b-1d85-7411-bd0a-ae60b5ddc511').start();
  first.begin(early).checkpoint().begin(long).query(early, 'select 1').query(long, 'select 2');
  ledger.add(first.head());
  first.checkpoint().finish(early).checkpoint().query(long, 'select 3').checkpoint(false);
  for (let count = 0; count < 4; count += 1)
    first.add({ kind: 'auth.failed', protocol: 'Postgres', backend: 'shop', 'client.address': '::1', reason: 'x', attempts: 1 }); // prettier-ignore
  first.checkpoint();
  for (let count = 0; count < 3; count += 1)
    first.add({ kind: 'policy.changed', revision: String(count) });
  first.checkpoint().query(long, 'select 4').checkpoint().begin(late).query(late, 'select 5');
  first.finish(long).finish(late);
  if (until === 'stopped') first.end().checkpoint();
  if (until === 'killed') first.checkpoint(false).end('recovered');
  const next = new StreamBuilder('01a20d9b-1d85-7411-bd0a-ae60b5ddc512');
  next.start({ stream: first.stream, seq: first.seq, link: first.link });
  next.add({ kind: 'auth.failed', protocol: 'Postgres', backend: 'shop', 'client.address': '::1', reason: 'x', attempts: 1 }); // prettier-ignore
  next.checkpoint();
  if (until === 'stopped') ledger.add(first.head());
  ledger.add(next.head());
  const store = new MemoryStore().put(first);
  if (until !== 'open') {
    store.put(next).successors.set(first.stream, next.stream);
  }
  store.lines = ledger.lines;
  return { first, next, ledger, store, trust: { keys: [ledger.key.publicKey] } };
}

/** Exports from a store, honestly. */
export async function exported(source: ExportSource, wanted: ExportWanted): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of buildExport(source, wanted)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Verifies an export that comes in one piece. */
export async function verified(bytes: Buffer, trust: Trust): Promise<Report> {
  return verifyExport(onePiece(bytes), trust);
}

/** Says a verdict in one line, as both verifiers can be compared: without the reason. */
export function short(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'complete':
    case 'consistent':
      return verdict.kind;
    case 'unbroken':
      return `unbroken ${verdict.upTo}`;
    case 'broken':
      return `broken ${verdict.at}${verdict.stream === undefined ? '' : ` ${verdict.stream}`}`;
  }
}

/** The items of an export with their prefixes, as they are: whatever is in them. */
export function splitItems(bytes: Buffer): Buffer[] {
  const items: Buffer[] = [];
  for (let at = exportStart.length; at < bytes.length;) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    items.push(bytes.subarray(at, end));
    at = end;
  }
  return items;
}

async function* onePiece(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** Puts items together again, under a beginning and an end that fit. */
export function sealed(items: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat([exportStart, ...items]);
  const end = Buffer.from([0x45, 0, 0, 0, 32]);
  return Buffer.concat([bytes, end, hash('sha256', bytes, 'buffer')]);
}

/** Returns the same bytes with one bit of one of them changed. */
export function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}

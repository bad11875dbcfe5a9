import type { KeyObject } from 'node:crypto';
import type { PoolClient } from 'pg';
import type { WriterIdentity } from '#core/control.ts';
import type { LedgerFields } from '#core/record/ledger.ts';
import type { Batch, ReceivedRecord } from '../batch.ts';
import { judgeClock } from '../clock-skew.ts';
import type { QuarantineLimits } from '../config.ts';
import { HttpProblem } from '../problem.ts';
import { judge, previousOf, type Judgement, type StreamState } from '../proof.ts';
import { inTurns } from '../turns.ts';
import type { Partition } from './partitions.ts';
import { finishPredecessor, recordFindings, resolveUnfinished, type Finding } from './findings.ts';
import { appendLedger, type Head } from './ledger.ts';
import { setAside } from './quarantine.ts';
import { compareKnown, copyRecords } from './records.ts';
import { mergeSessions } from './sessions.ts';
import { addOperations, type KnownStatements } from './operations.ts';
import { lockStream, saveStream, type LockedStream } from './stream-row.ts';
import { summarize } from './summary.ts';
import { addTexts, type Text } from './texts.ts';

/** What became of a batch. */
export interface Receipt {
  /** The highest seq up to which the stream is committed, but for what was set aside, and the link there if it is proven. */
  readonly seq: number;
  readonly link: Buffer | undefined;
  /** What the ledger is to say of it. */
  readonly head: Head;
  /** How many records of the batch were new. */
  readonly added: number;
  readonly quarantined: boolean;
  readonly findings: readonly Finding[];
  /** Texts that the store did not have yet. */
  readonly texts: readonly Text[];
  /** Whether the ledger has grown. */
  readonly ledgered: boolean;
}

export interface Sent {
  readonly batch: Batch;
  /** As it came, compressed. */
  readonly body: Buffer;
  readonly writer: WriterIdentity;
}

export interface Store {
  readonly key: KeyObject;
  readonly limits: QuarantineLimits;
  readonly known: KnownStatements;
  partitionAt(receivedUs: number): Partition | undefined;
}

/**
 * Takes a batch into its stream, within the caller's transaction: stores what verifies, sets the batch aside where not
 * all of it does. The stream's row is locked; records that are there already must be the same, and are not stored again.
 * @throws HttpProblem `not-your-stream`, `gap`, `store-unavailable`.
 */
export async function takeBatch(client: PoolClient, sent: Sent, store: Store): Promise<Receipt> {
  const { batch, body, writer } = sent;
  const { stream } = batch;
  const row = await lockStream(client, stream, writer);
  const { ackedSeq, jump } = row.state;
  if (batch.firstSeq !== undefined && batch.firstSeq > ackedSeq + 1 && !jump)
    throw new HttpProblem('gap', `the stream goes on at ${ackedSeq + 1}`, { ackedSeq });
  const conflict = await compareKnown(client, batch, ackedSeq);
  const judged = await inTurns(judge(row.state, batch, writer, conflict));
  const { accepted, fault, state } = judged;
  const findings: Finding[] = findingsOf(row.state, judged, batch);
  const entries: LedgerFields[] = [];
  let texts: readonly Text[] = [];
  if (accepted.length > 0) {
    const clock = judgeClock(row, accepted.at(-1)?.frame.header.time ?? '', batch.bytes.length);
    findings.push(...(clock.skewed ? [skewFinding(stream, clock.lagMs, state.ackedSeq)] : []));
    texts = await storeRecords(client, { stream, row, judged, store });
    const change = changeOf(row, judged);
    await saveStream(client, stream, { ...change, ...clock });
    if (row.silent) await resolveUnfinished(client, stream);
    const previous = change.previousStream;
    if (judged.start && previous !== undefined) {
      findings.push(...(await comparePredecessor(client, stream, judged)));
      await finishPredecessor(client, stream, previous);
    }
    // At once for a new stream too: from here on its key is on record, whatever becomes of the store.
    if (change.ended || judged.start) entries.push(headOf(stream, state, writer));
  } else if (fault) {
    const { receivedUs, ended, previousStream } = row;
    const kept = { lag: undefined, lagMs: 0, skewed: false } as const;
    await saveStream(client, stream, { state, receivedUs, ended, previousStream, ...kept });
    if (row.silent) await resolveUnfinished(client, stream);
  }
  if (fault) {
    const after = { stream, afterSeq: state.ackedSeq };
    const reason = fault.seq === undefined ? fault.why : `record ${fault.seq}: ${fault.why}`;
    const sha256 = await setAside(client, { ...after, body, reason, writer }, store.limits);
    if (sha256 !== undefined) {
      entries.push({ kind: 'quarantine', stream, after: state.ackedSeq, sha256 });
      findings.push(quarantineFinding(batch, state.ackedSeq, reason));
    }
  }
  const fresh = await recordFindings(client, findings);
  await appendLedger(client, store.key, entries);
  return {
    seq: state.ackedSeq,
    link: state.link,
    added: accepted.length,
    head: headOf(stream, state, writer),
    quarantined: fault !== undefined,
    findings: fresh,
    texts,
    ledgered: entries.length > 0,
  };
}

interface Storing {
  readonly stream: string;
  readonly row: LockedStream;
  readonly judged: Judgement;
  readonly store: Store;
}

async function storeRecords(
  client: PoolClient,
  { stream, row: { receivedUs }, judged: { accepted, signed }, store }: Storing,
): Promise<Text[]> {
  const partition = store.partitionAt(receivedUs);
  if (!partition) throw new HttpProblem('store-unavailable', 'the store has no partition for now');
  await copyRecords(client, { stream, receivedUs, signed }, accepted);
  const { sessions, statements } = summarize(accepted);
  const startedAt = await mergeSessions(client, stream, sessions);
  const { period } = partition;
  const texts = await addTexts(client, { stream, period, startedAt }, statements);
  await addOperations(
    client,
    { stream, period, periodUs: partition.lowUs, known: store.known },
    accepted,
    statements,
  );
  return texts;
}

function changeOf(
  row: LockedStream,
  { accepted, start, state }: Judgement,
): Pick<Parameters<typeof saveStream>[2], 'state' | 'receivedUs' | 'ended' | 'previousStream'> {
  return {
    state,
    receivedUs: row.receivedUs,
    ended: row.ended || accepted.some(({ frame }) => frame.header.kind === 'stream.end'),
    previousStream: (start && previousOf(start)?.stream) ?? row.previousStream,
  };
}

function headOf(stream: string, state: StreamState, writer: WriterIdentity): Head {
  return {
    kind: 'head',
    stream,
    seq: state.ackedSeq,
    link: state.link?.toString('hex'),
    publicKey: state.publicKey,
    pod: writer.pod,
    namespace: writer.namespace,
    serviceAccount: writer.serviceAccount,
  };
}

const maxGapsABatch = 100; // further ones stand in the records all the same

function findingsOf(before: StreamState, judged: Judgement, batch: Batch): Finding[] {
  const { stream } = batch;
  const { accepted, fault, state } = judged;
  const findings: Finding[] = [];
  const first = accepted[0]?.frame.header.seq;
  if (first !== undefined && first > before.ackedSeq + 1) {
    const [from, to] = [before.ackedSeq + 1, first - 1];
    findings.push({ kind: 'gap', stream, from, to, detail: 'records that did not verify are left out' }); // prettier-ignore
  }
  if (before.ackedSeq === 0 && accepted.length > 0 && state.publicKey === undefined) {
    findings.push({ kind: 'no-key', stream, detail: 'the stream has no key: nothing in it is signed' }); // prettier-ignore
  }
  if (fault?.kind === 'break' && fault.seq !== undefined) {
    const from = Math.min(fault.seq, before.signedSeq + 1);
    findings.push({ kind: 'break', stream, from, to: fault.seq, detail: fault.why });
  }
  findings.push(...gapsIn(stream, accepted));
  return findings;
}

function gapsIn(stream: string, records: readonly ReceivedRecord[]): Finding[] {
  const isSeq = (value: unknown): value is number =>
    Number.isSafeInteger(value) && Number(value) > 0;
  return records
    .flatMap(({ frame: { header } }) =>
      header.kind === 'gap' && isSeq(header.from) ? [header] : [],
    )
    .slice(0, maxGapsABatch)
    .map(({ from, to, reason }) => ({
      kind: 'gap',
      stream,
      from,
      to: isSeq(to) ? to : undefined,
      detail: reason === 'quarantined' ? 'records that did not verify are left out' : 'the sidecar found its spool damaged', // prettier-ignore
    }));
}

function quarantineFinding({ stream, firstSeq }: Batch, after: number, reason: string): Finding {
  return { kind: 'quarantine', stream, from: firstSeq ?? after + 1, detail: reason };
}

function skewFinding(stream: string, lagMs: number, seq: number): Finding {
  const seconds = (Math.abs(lagMs) / 1000).toFixed(1);
  const detail = `its clock is ${seconds} s ${lagMs > 0 ? 'behind' : 'ahead of'} the store's`;
  return { kind: 'clock-skew', stream, from: seq, detail };
}

/** A stream says how the one before it was left: its records may not end otherwise. */
async function comparePredecessor(
  client: PoolClient,
  stream: string,
  { start }: Judgement,
): Promise<Finding[]> {
  const previous = start && previousOf(start);
  if (!previous) return [];
  const { rowCount } = await client.query(
    `SELECT 1 FROM streams earlier JOIN streams later USING (pod, namespace, service_account)
     WHERE earlier.stream = $1 AND later.stream = $2 AND earlier.acked_seq = $3 AND earlier.head_link <> $4`,
    [previous.stream, stream, previous.seq, Buffer.from(previous.link, 'hex')],
  );
  if (rowCount === 0) return [];
  const detail = 'the stream that follows it names another link for its last record';
  return [{ kind: 'break', stream: previous.stream, from: previous.seq, to: previous.seq, detail }];
}

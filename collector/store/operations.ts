import type { PoolClient } from 'pg';
import type { ReceivedRecord } from '../batch.ts';
import { clamped, searchable, statementText } from './summary.ts';
import { textId } from './texts.ts';

/** A row of an operation: what a request, or the text of a Parse, was. */
interface Operation {
  readonly seq: number;
  readonly session: string;
  readonly time: string;
  readonly request: boolean;
  text: string | undefined;
  /** Seq of the record with its text, where that is another. */
  readonly statement: number | undefined;
  readonly verdict: string;
  readonly reason: string;
  readonly policy: string | undefined;
  readonly rule: string | undefined;
  ending?: Ending;
}

/** How an operation ended. */
interface Ending {
  readonly status: string;
  readonly error: string | undefined;
  readonly rows: number;
  readonly durationUs: number;
}

export interface OperationPlace {
  readonly stream: string;
  readonly period: string;
}

/**
 * Adds what a batch says of operations: those that begin in it, and how earlier ones ended. Texts of statements that an
 * earlier batch brought are looked up, so that nobody who reads has to.
 */
export async function addOperations(
  client: PoolClient,
  { stream, period }: OperationPlace,
  records: readonly ReceivedRecord[],
): Promise<void> {
  const { begun, ended } = operationsOf(records);
  if (begun.size > 0) {
    await findTexts(client, stream, begun);
    await client.query({
      name: 'add-operations',
      text: `INSERT INTO operations (period, stream, seq, session, time, request, text, verdict, reason, policy, rule,
                                     status, error, rows, duration_us)
             SELECT $1::timestamptz, $2::uuid, * FROM json_to_recordset($3::json) AS new (
               seq bigint, session uuid, time timestamptz, request boolean, text uuid, verdict text, reason text,
               policy text, rule text, status text, error text, rows bigint, "durationUs" bigint)`,
      values: [
        period,
        stream,
        JSON.stringify([...begun.values()].map(({ ending, ...rest }) => ({ ...rest, ...ending }))),
      ],
    });
  }
  if (ended.size > 0) {
    await client.query({
      name: 'end-operations',
      text: `UPDATE operations o SET status = e.status, error = e.error, rows = e.rows, duration_us = e."durationUs"
             FROM json_to_recordset($2::json) AS e (seq bigint, status text, error text, rows bigint, "durationUs" bigint)
             WHERE o.stream = $1 AND o.seq = e.seq`,
      values: [stream, JSON.stringify([...ended].map(([seq, ending]) => ({ seq, ...ending })))],
    });
  }
}

function operationsOf(records: readonly ReceivedRecord[]): {
  readonly begun: ReadonlyMap<number, Operation>;
  /** Of earlier batches, by seq. */
  readonly ended: ReadonlyMap<number, Ending>;
} {
  const begun = new Map<number, Operation>();
  const ended = new Map<number, Ending>();
  for (const { frame } of records) {
    const { header } = frame;
    const { session, seq, time } = header;
    if (session === undefined) continue;
    if (header.kind === 'statement' || header.kind === 'request') {
      const text = statementText(frame);
      const of = header.kind === 'request' ? header.statement : undefined;
      begun.set(seq, {
        seq,
        session,
        time,
        request: header.kind === 'request',
        text: text === undefined ? undefined : textId(text),
        statement: isSeq(of) ? of : undefined,
        verdict: searchable(header.verdict?.action),
        reason: searchable(header.verdict?.reason),
        policy: optional(header.verdict?.policy),
        rule: optional(header.verdict?.rule),
      });
    } else if (header.kind === 'result' && isSeq(header.request)) {
      const ending = {
        status: searchable(header.status),
        error: optional(header['db.response.status_code']),
        rows: clamped(header['db.response.returned_rows']),
        durationUs: clamped(header.durationUs),
      };
      const operation = begun.get(header.request);
      if (operation) operation.ending = ending;
      else ended.set(header.request, ending);
    }
  }
  return { begun, ended };
}

/** Gives operations the texts of the statements that they name. */
async function findTexts(
  client: PoolClient,
  stream: string,
  begun: ReadonlyMap<number, Operation>,
): Promise<void> {
  const earlier = new Set<number>();
  const unnamed = [...begun.values()].filter(({ text }) => text === undefined);
  for (const operation of unnamed) {
    if (operation.statement === undefined) continue;
    const statement = begun.get(operation.statement);
    if (statement) operation.text = statement.text;
    else earlier.add(operation.statement);
  }
  if (earlier.size === 0) return;
  const { rows } = await client.query<{ seq: number; text: string | null }>({
    name: 'texts-of-operations',
    text: 'SELECT seq::float8, text FROM operations WHERE stream = $1 AND seq = ANY($2::bigint[])',
    values: [stream, [...earlier]],
  });
  const texts = new Map(rows.map(({ seq, text }) => [seq, text ?? undefined]));
  for (const operation of unnamed)
    if (operation.statement !== undefined) operation.text ??= texts.get(operation.statement);
}

// Headers come from a sidecar that may be hostile.
function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

function optional(value: unknown): string | undefined {
  return value === undefined ? undefined : searchable(value);
}

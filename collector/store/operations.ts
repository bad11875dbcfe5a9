import type { PoolClient } from 'pg';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { ReceivedRecord } from '../batch.ts';
import { bigintCell, booleanCell, copyRows, timeCell, uuidCell, type Cell } from './copy.ts';
import { clamped, searchable, type StatementText } from './summary.ts';

/** A row of an operation: what a request, or the text of a Parse, was. */
interface Operation {
  readonly seq: number;
  readonly session: string;
  readonly time: string;
  readonly request: boolean;
  text: string | undefined;
  /** Seq of the record with its text, where that is another. */
  readonly statement: number | undefined;
  readonly verdict: RecordedVerdict | undefined;
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
  /** Low end of the partition, in microseconds since 1970. */
  readonly periodUs: number;
}

/**
 * Adds what a batch says of operations: those that begin in it, and how earlier ones ended. Texts of statements that an
 * earlier batch brought are looked up, so that nobody who reads has to.
 */
export async function addOperations(
  client: PoolClient,
  { stream, periodUs }: OperationPlace,
  records: readonly ReceivedRecord[],
  statements: readonly StatementText[],
): Promise<void> {
  const { begun, ended } = operationsOf(records, statements);
  if (begun.size > 0) {
    await findTexts(client, stream, begun);
    const cells = new Cells();
    const place = [timeCell(periodUs), uuidCell(stream)];
    const rows = [...begun.values()].map((operation) => cells.rowOf(place, operation));
    await copyRows(client, `operations (${columns})`, rows);
  }
  if (ended.size === 0) return;
  await client.query({
    name: 'end-operations',
    text: `UPDATE operations o SET status = e.status, error = e.error, rows = e.rows, duration_us = e."durationUs"
           FROM json_to_recordset($2::json) AS e (seq bigint, status text, error text, rows bigint, "durationUs" bigint)
           WHERE o.stream = $1 AND o.seq = e.seq`,
    values: [
      stream,
      JSON.stringify([...ended].map(([seq, { status, error, ...counts }]) => ({ seq, status: searchable(status), error: optional(error), ...counts }))),
    ],
  }); // prettier-ignore
}

const columns =
  'period, stream, seq, session, time, request, text, verdict, reason, policy, rule, status, error, rows, duration_us';

/** Makes cells, those that come again and again once. */
class Cells {
  readonly #texts = new Map<unknown, Cell>();
  readonly #uuids = new Map<string, Cell>();

  rowOf(place: readonly Cell[], operation: Operation): readonly Cell[] {
    const { seq, session, time, request, text, verdict, ending } = operation;
    return [
      ...place,
      bigintCell(seq),
      this.#uuid(session),
      timeCell(microseconds(time)),
      booleanCell(request),
      text === undefined ? undefined : this.#uuid(text),
      this.#text(verdict?.action ?? ''),
      this.#text(verdict?.reason ?? ''),
      this.#text(verdict?.policy),
      this.#text(verdict?.rule),
      this.#text(ending?.status),
      this.#text(ending?.error),
      ending && bigintCell(ending.rows),
      ending && bigintCell(ending.durationUs),
    ];
  }

  #text(value: unknown): Cell {
    if (value === undefined) return undefined;
    let cell = this.#texts.get(value);
    if (!cell) this.#texts.set(value, (cell = Buffer.from(searchable(value))));
    return cell;
  }

  #uuid(uuid: string): Cell {
    let cell = this.#uuids.get(uuid);
    if (!cell) this.#uuids.set(uuid, (cell = uuidCell(uuid)));
    return cell;
  }
}

/** Of a time as records have it, since 1970; what is finer is left out. */
function microseconds(time: string): number {
  const fraction = time.slice(20, -1); // behind seconds and point
  return Date.parse(`${time.slice(0, 19)}Z`) * 1_000 + Number(fraction.slice(0, 6).padEnd(6, '0'));
}

function operationsOf(
  records: readonly ReceivedRecord[],
  statements: readonly StatementText[],
): {
  readonly begun: ReadonlyMap<number, Operation>;
  /** Of earlier batches, by seq. */
  readonly ended: ReadonlyMap<number, Ending>;
} {
  const texts = new Map(statements.map(({ seq, id }) => [seq, id]));
  const begun = new Map<number, Operation>();
  const ended = new Map<number, Ending>();
  for (const {
    frame: { header },
  } of records) {
    const { session, seq, time } = header;
    if (session === undefined) continue;
    if (header.kind === 'statement' || header.kind === 'request') {
      const of = header.kind === 'request' ? header.statement : undefined;
      begun.set(seq, {
        seq,
        session,
        time,
        request: header.kind === 'request',
        text: texts.get(seq),
        statement: isSeq(of) ? of : undefined,
        verdict: header.verdict,
      });
    } else if (header.kind === 'result' && isSeq(header.request)) {
      const ending = {
        status: header.status,
        error: header['db.response.status_code'],
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

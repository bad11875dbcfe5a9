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
  /** Low end of the partition, as PostgreSQL writes it, and in microseconds since 1970. */
  readonly period: string;
  readonly periodUs: number;
  readonly known: KnownStatements;
}

/**
 * Adds what a batch says of operations: those that begin in it, and how earlier ones ended. Texts of statements that an
 * earlier batch brought are looked up, so that nobody who reads has to.
 */
export async function addOperations(
  client: PoolClient,
  place: OperationPlace,
  records: readonly ReceivedRecord[],
  statements: readonly StatementText[],
): Promise<void> {
  const { begun, ended } = operationsOf(records, statements);
  if (begun.size > 0) {
    await findTexts(client, place, begun);
    const cells = new Cells();
    const first = [timeCell(place.periodUs), uuidCell(place.stream)];
    const rows = [...begun.values()].map((operation) => cells.rowOf(first, operation));
    await copyRows(client, `operations (${columns})`, rows);
  }
  await endOperations(client, place, ended);
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
  { stream, period, known }: OperationPlace,
  begun: ReadonlyMap<number, Operation>,
): Promise<void> {
  const unknown = new Set<number>();
  const naming: Operation[] = [];
  for (const operation of begun.values()) {
    const { seq, statement, text } = operation;
    if (!operation.request) known.note(stream, seq, text);
    if (text !== undefined || statement === undefined) continue;
    naming.push(operation);
    if (!known.has(stream, statement)) unknown.add(statement);
  }
  const inPeriod = 'stream = $1 AND seq = ANY($2::bigint[]) AND period = $3';
  for (const where of [inPeriod, 'stream = $1 AND seq = ANY($2::bigint[]) AND period < $3']) {
    if (unknown.size === 0) break;
    // Not prepared under a name: each time it is planned for the partitions that there are to look into.
    const { rows } = await client.query<{ seq: number; text: string | null }>(
      `SELECT seq::float8, text FROM operations WHERE ${where}`,
      [stream, [...unknown], period],
    );
    for (const { seq, text } of rows) {
      known.note(stream, seq, text ?? undefined);
      unknown.delete(seq);
    }
  }
  for (const seq of unknown) known.note(stream, seq, undefined); // nothing of that place will come any more
  for (const operation of naming)
    if (operation.statement !== undefined) operation.text = known.of(stream, operation.statement);
}

/** Writes how operations of earlier batches ended: most are of the same day, and few days are looked into for long. */
async function endOperations(
  client: PoolClient,
  { stream, period }: OperationPlace,
  ended: ReadonlyMap<number, Ending>,
): Promise<void> {
  const left = new Map(ended);
  for (const when of ['period = $4', 'period < $4']) {
    if (left.size === 0) return;
    const endings = [...left].map(([seq, { status, error, rows, durationUs }]) => ({
      seq,
      status: searchable(status),
      error: error === undefined ? undefined : searchable(error),
      rows,
      durationUs,
    }));
    const { rows } = await client.query<{ seq: number }>(
      `UPDATE operations o SET status = e.status, error = e.error, rows = e.rows, duration_us = e."durationUs"
       FROM json_to_recordset($2::json) AS e (seq bigint, status text, error text, rows bigint, "durationUs" bigint)
       WHERE o.stream = $1 AND o.seq = ANY($3::bigint[]) AND o.seq = e.seq AND o.${when} RETURNING o.seq::float8`,
      [stream, JSON.stringify(endings), [...left.keys()], period],
    );
    for (const { seq } of rows) left.delete(seq);
  }
}

const maxKnown = 20_000;

/** Ids of the texts of statements, by their records, so that requests that name them need not be looked up: the newest. */
export class KnownStatements {
  readonly #texts = new Map<string, string | undefined>();

  has(stream: string, seq: number): boolean {
    return this.#texts.has(`${stream} ${seq}`);
  }

  of(stream: string, seq: number): string | undefined {
    return this.#texts.get(`${stream} ${seq}`);
  }

  /** `text` is undefined for a statement that has none. */
  note(stream: string, seq: number, text: string | undefined): void {
    const key = `${stream} ${seq}`;
    this.#texts.delete(key);
    this.#texts.set(key, text);
    for (const oldest of this.#texts.keys()) {
      if (this.#texts.size <= maxKnown) break;
      this.#texts.delete(oldest);
    }
  }
}

// Headers come from a sidecar that may be hostile.
function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

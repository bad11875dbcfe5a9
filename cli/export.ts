import { open, rm } from 'node:fs/promises';
import { transcribe } from '#core/postgres/transcript.ts';
import { ChaperoneError } from '#core/errors.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import { CollectorClient, type SessionPage } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError } from './command.ts';
import { findInstance } from './instance.ts';
import { csvHeader, csvRow, jsonLine, statementRows, type StatementRow } from './statements.ts';
import { printable } from './terminal.ts';

const formats = ['frames', 'csv', 'ndjson'] as const;
type Format = (typeof formats)[number];

/** `chaperone sessions export`. Returns the exit code. */
export async function exportSession(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      stream: { type: 'boolean', default: false },
      output: { type: 'string' },
      as: { type: 'string', default: 'frames' },
      data: { type: 'string' },
    },
  });
  const [id, ...more] = positionals;
  if (id === undefined || more.length > 0)
    throw new UsageError('sessions export needs the id of one session, or of a stream with --stream'); // prettier-ignore
  const format = formats.find((known) => known === values.as);
  if (!format) throw new UsageError(`--as: got "${values.as}", want frames, csv or ndjson`);
  if (format === 'frames' && values.output === undefined && process.stdout.isTTY)
    throw new UsageError('an export is not text: name a file with --output, or pipe it on');
  const instance = findInstance(values.data);
  const client = new CollectorClient(localCollector(instance));
  const pieces = piecesOf(client, { id, format, ofStream: values.stream });
  const { output } = values;
  if (output === undefined) {
    for await (const piece of pieces) await written(piece);
    return 0;
  }
  const bytes = await writeFile(output, pieces);
  process.stdout.write(`${printable(output)}: ${bytes} bytes\n`);
  if (format === 'frames')
    process.stdout.write(`"chaperone verify FILE --trust ${instance.collector.publicKeyFile}" checks it, here or elsewhere\n`);
  return 0;
} // prettier-ignore

interface Wanted {
  readonly id: string;
  readonly format: Format;
  readonly ofStream: boolean;
}

async function* piecesOf(
  client: CollectorClient,
  { id, format, ofStream }: Wanted,
): AsyncGenerator<Buffer | string> {
  if (format === 'frames') {
    yield* client.bytes(`/v1/${ofStream ? 'streams' : 'sessions'}/${encodeURIComponent(id)}/export`);
    return;
  } // prettier-ignore
  const found = ofStream ? sessionsOf(client, id) : [await client.session(id)];
  if (format === 'csv') yield csvHeader;
  for await (const session of found)
    for await (const row of statementRows(transcribe(client.frames(session.id))))
      yield format === 'csv' ? csvRow(row) : jsonLine(shown(row));
}

async function* sessionsOf(client: CollectorClient, id: string): AsyncGenerator<SessionSummary> {
  const { stream } = await client.json<{ stream: string }>(`/v1/streams/${encodeURIComponent(id)}`);
  for await (const { sessions } of client.pages<SessionPage>('/v1/sessions'))
    for (const session of sessions) if (session.stream === stream) yield session;
} // prettier-ignore

function shown({ durationUs, ...row }: StatementRow): object {
  return { ...row, durationMs: durationUs === undefined ? undefined : durationUs / 1_000 };
}

/** Writes a file that is not there yet: an export is not to replace another. Returns its size in bytes. */
async function writeFile(path: string, pieces: AsyncIterable<Buffer | string>): Promise<number> {
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new ChaperoneError('config-invalid', `${path} cannot be made, or is there already`, { cause }); // prettier-ignore
  });
  try {
    for await (const piece of pieces) await file.appendFile(piece);
    await file.sync();
    return (await file.stat()).size;
  } catch (error) {
    await rm(path); // half an export would look like one that was tampered with
    throw error;
  } finally {
    await file.close();
  }
}

/** Waits until whoever reads our output has room for more. */
async function written(piece: Buffer | string): Promise<void> {
  if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once('drain', resolve)); // prettier-ignore
}

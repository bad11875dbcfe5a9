import { setTimeout as delay } from 'node:timers/promises';
import { ChaperoneError } from '#core/errors.ts';
import { Transcriber } from '#core/postgres/transcript.ts';
import type { Frame } from '#core/record/frame.ts';
import type { TranscriptLine } from '#core/record/transcript.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError } from './command.ts';
import { sentenceOf } from './error-sentence.ts';
import { findInstance } from './instance.ts';
import { describe } from './show.ts';
import { printable } from './terminal.ts';

const pollMs = 500;
const retryMs = 1_000;

interface Activity {
  readonly time: string;
  readonly streams: readonly { readonly stream: string; readonly ackedSeq: number }[];
}

type Say = (line: string) => void;

/** `chaperone sessions tail`. Goes on until it is stopped. */
export async function tailSessions(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      follow: { type: 'boolean', short: 'f', default: false },
      data: { type: 'string' },
    },
  });
  const [id, ...more] = positionals;
  if (!values.follow || more.length > 0)
    throw new UsageError('sessions tail follows all sessions, or one: sessions tail -f [ID]');
  const find = (): CollectorClient =>
    new CollectorClient(localCollector(findInstance(values.data)));
  const only = id === undefined ? undefined : await find().session(id);
  const tail = new Tail(only?.id, (line) => void process.stdout.write(`${line}\n`));
  if (only) await tail.beginAt(find(), only.stream);
  let away = false;
  for (;;) {
    try {
      const wait = await tail.poll(find());
      away = false;
      if (tail.ended) return 0;
      await delay(wait ? pollMs : 0);
    } catch (error) {
      // A collector that is restarted comes back with what it had; the place in each stream is ours.
      if (!(error instanceof ChaperoneError) || error.code !== 'config-invalid') throw error;
      if (!away)
        process.stderr.write(`chaperone: ${printable(sentenceOf(error))}; waiting for it\n`);
      away = true;
      await delay(retryMs);
    }
  }
}

/** Follows streams by their seqs, and tells what is new in them. */
class Tail {
  readonly #only: string | undefined;
  readonly #say: Say;
  /** The last seq of each stream that was told. */
  readonly #told = new Map<string, number>();
  readonly #sessions = new Map<string, Transcriber>();
  #since: string | undefined;
  #ended = false;

  constructor(only: string | undefined, say: Say) {
    this.#only = only;
    this.#say = say;
  }

  /** Whether the one session that is followed has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Follows one stream, from now on. */
  async beginAt(client: CollectorClient, stream: string): Promise<void> {
    const { ackedSeq } = await client.json<{ ackedSeq: number }>(`/v1/streams/${stream}`);
    this.#told.set(stream, ackedSeq);
    const { endedAt } = await client.json<{ endedAt: string | null }>(`/v1/sessions/${this.#only}`);
    this.#ended = endedAt !== null;
  }

  /** Tells what is new. Returns whether there was nothing. */
  async poll(client: CollectorClient): Promise<boolean> {
    const moved = this.#only === undefined ? await this.#moved(client) : await this.#moves(client);
    let nothing = true;
    for (const { stream, ackedSeq } of moved) {
      const told = this.#told.get(stream) ?? 0;
      if (ackedSeq <= told) continue;
      nothing = false;
      const session = this.#only === undefined ? '' : `&session=${this.#only}`;
      const path = `/v1/streams/${stream}/frames?from=${told + 1}${session}`;
      for await (const frame of client.framesOf(path)) {
        await this.#take(client, frame);
        this.#told.set(stream, frame.header.seq);
      }
      this.#told.set(stream, Math.max(ackedSeq, this.#told.get(stream) ?? 0));
    }
    return nothing;
  }

  async #moved(client: CollectorClient): Promise<Activity['streams']> {
    const since = this.#since === undefined ? '' : `?since=${encodeURIComponent(this.#since)}`;
    const { time, streams } = await client.json<Activity>(`/v1/activity${since}`);
    // What was there before is not new.
    if (this.#since === undefined)
      for (const { stream, ackedSeq } of streams) this.#told.set(stream, ackedSeq);
    this.#since = time;
    return streams;
  }

  async #moves(client: CollectorClient): Promise<Activity['streams']> {
    const streams = [...this.#told.keys()].map((stream) =>
      client.json<{ stream: string; ackedSeq: number }>(`/v1/streams/${stream}`),
    );
    return Promise.all(streams);
  }

  async #take(client: CollectorClient, frame: Frame): Promise<void> {
    const { session, kind } = frame.header;
    if (session === undefined) return;
    const known = this.#sessions.get(session) ?? (await resumed(client, frame, session));
    this.#sessions.set(session, known);
    for (const line of known.take(frame)) this.#tell(session, line);
    if (kind !== 'session.end') return;
    for (const line of known.end()) this.#tell(session, line);
    this.#sessions.delete(session);
    this.#ended = session === this.#only;
  }

  #tell(session: string, line: TranscriptLine): void {
    if (line.kind === 'row' || line.kind === 'columns' || line.kind === 'copy') return;
    const name = printable(session.slice(0, 13));
    for (const text of describe(line)) if (text !== '') this.#say(`${name}  ${text}`);
  }
}

/** A session that had begun before: its texts may be named by what follows, and are read without being told. */
async function resumed(
  client: CollectorClient,
  { header }: Frame,
  session: string,
): Promise<Transcriber> {
  const transcriber = new Transcriber();
  if (header.n === 1) return transcriber;
  for await (const frame of client.frames(session)) {
    if (frame.header.seq >= header.seq) break;
    for (const _ of transcriber.take(frame)); // what was said then is not new
  }
  return transcriber;
}

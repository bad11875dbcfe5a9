import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { ChaperoneError } from '#core/errors.ts';
import { tryParseFrame, type Frame } from '#core/record/frame.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import type { Instance } from './instance.ts';

const timeoutMs = 30_000;

/** Reads from a collector over HTTPS with its CA pinned. */
export class CollectorClient {
  readonly #url: string;
  readonly #ca: string;
  readonly #token: string;

  constructor({ collector }: Instance) {
    this.#url = collector.url;
    this.#ca = readFileSync(collector.caFile, 'utf8');
    this.#token = readFileSync(collector.readTokenFile, 'utf8').trim();
  }

  /** @throws ChaperoneError `config-invalid` with what the collector says. */
  async json<T>(path: string): Promise<T> {
    return JSON.parse(await textOf(await this.#get(path))) as T; // this release's own collector answered
  }

  async sessions(query: Readonly<Record<string, string | undefined>>): Promise<SessionSummary[]> {
    const given = Object.entries(query).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    const answer = await this.json<{ sessions: SessionSummary[] }>(
      `/v1/sessions?${new URLSearchParams(given).toString()}`,
    );
    return answer.sessions;
  }

  async session(id: string): Promise<SessionSummary> {
    return this.json<SessionSummary>(`/v1/sessions/${encodeURIComponent(id)}`);
  }

  /** Yields a session's frames as they arrive. */
  async *frames(session: string): AsyncGenerator<Frame> {
    let held: Buffer = Buffer.alloc(0);
    for await (const piece of await this.#get(`/v1/sessions/${session}/frames`)) {
      let bytes = Buffer.concat([held, piece as Buffer]); // no encoding is set
      for (let frame = tryParseFrame(bytes); frame; frame = tryParseFrame(bytes)) {
        yield frame;
        bytes = bytes.subarray(frame.length);
      }
      held = bytes;
    }
    if (held.length > 0)
      throw new ChaperoneError('record-invalid', 'the collector sent a record cut short');
  }

  /** Yields header hashes of a stream from seq 1 to `to`. */
  async *headerHashes(stream: string, to: number): AsyncGenerator<Buffer> {
    if (to < 1) return;
    for await (const piece of await this.#get(`/v1/streams/${stream}/hashes?from=1&to=${to}`))
      yield piece as Buffer;
  }

  async #get(path: string): Promise<IncomingMessage> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = {
        ca: this.#ca,
        timeout: timeoutMs,
        headers: { authorization: `Bearer ${this.#token}` },
      };
      const outgoing = request(new URL(path, this.#url), options, resolve);
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject);
      outgoing.end();
    }).catch((cause: unknown) => {
      throw new ChaperoneError('config-invalid', `the collector at ${this.#url} does not answer`, {
        cause,
      });
    });
    if (response.statusCode === 200) return response;
    throw new ChaperoneError('config-invalid', detailOf(await textOf(response)));
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) text += String(piece);
  return text;
}

function detailOf(text: string): string {
  try {
    const problem: unknown = JSON.parse(text);
    const detail: unknown =
      typeof problem === 'object' && problem !== null ? Reflect.get(problem, 'detail') : undefined;
    return `the collector says: ${String(detail)}`;
  } catch {
    return 'the collector gave an answer that cannot be read';
  }
}

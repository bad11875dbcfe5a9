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
  readonly #operatorTokenFile: string;

  constructor({ collector }: Instance) {
    this.#url = collector.url;
    this.#ca = readFileSync(collector.caFile, 'utf8');
    this.#token = readFileSync(collector.readTokenFile, 'utf8').trim();
    this.#operatorTokenFile = collector.operatorTokenFile;
  }

  /** @throws ChaperoneError `config-invalid` with what the collector says. */
  async json<T>(path: string): Promise<T> {
    return JSON.parse(await textOf(await this.#ask('GET', path, this.#token))) as T; // this release's own collector answered
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

  /** Yields all that a list has, page by page. */
  async *pages<Page extends { readonly next: string | number | null }>(
    path: string,
  ): AsyncGenerator<Page> {
    for (let before: string | number | null | undefined; before !== null;) {
      const query = before === undefined ? '' : `?before=${encodeURIComponent(before)}`;
      const page: Page = await this.json<Page>(`${path}${query}`);
      yield page;
      before = page.next;
    }
  }

  /** Yields a session's frames as they arrive. */
  frames(session: string): AsyncGenerator<Frame> {
    return this.framesOf(`/v1/sessions/${session}/frames`);
  }

  /** Yields the frames that a path serves. */
  async *framesOf(path: string): AsyncGenerator<Frame> {
    let held: Buffer = Buffer.alloc(0);
    for await (const piece of this.bytes(path)) {
      let bytes = Buffer.concat([held, piece]);
      for (let frame = tryParseFrame(bytes); frame; frame = tryParseFrame(bytes)) {
        yield frame;
        bytes = bytes.subarray(frame.length);
      }
      held = bytes;
    }
    if (held.length > 0)
      throw new ChaperoneError('record-invalid', 'the collector sent a record cut short');
  }

  /** Yields what a path serves, piece by piece. @throws ChaperoneError `config-invalid`, also when it breaks off. */
  async *bytes(path: string): AsyncGenerator<Buffer> {
    const response = await this.#ask('GET', path, this.#token);
    try {
      for await (const piece of response) yield piece as Buffer; // no encoding is set
    } catch (cause) {
      throw new ChaperoneError('config-invalid', 'the collector broke off its answer', { cause });
    }
  }

  /** Yields the lines that a path serves, without their ends. */
  async *lines(path: string): AsyncGenerator<string> {
    yield* linesOf(this.bytes(path));
  }

  /** Orders something as an operator. */
  async order<T>(path: string, body: object): Promise<T> {
    const token = readFileSync(this.#operatorTokenFile, 'utf8').trim();
    return JSON.parse(await textOf(await this.#ask('POST', path, token, body))) as T; // as for `json`
  }

  async #ask(
    method: 'GET' | 'POST',
    path: string,
    token: string,
    body?: object,
  ): Promise<IncomingMessage> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = {
        method,
        ca: this.#ca,
        timeout: timeoutMs,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
      };
      const outgoing = request(new URL(path, this.#url), options, resolve);
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject);
      outgoing.end(body ? JSON.stringify(body) : undefined);
    }).catch((cause: unknown) => {
      throw new ChaperoneError('config-invalid', `the collector at ${this.#url} does not answer`, {
        cause,
      });
    });
    if (response.statusCode === 200) return response;
    throw new ChaperoneError('config-invalid', detailOf(await textOf(response)));
  }
}

/** Splits pieces into lines; what comes behind the last end is no line. */
export async function* linesOf(pieces: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    const bytes = held.length > 0 ? Buffer.concat([held, piece]) : piece;
    let at = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, at)) {
      yield bytes.toString('utf8', at, end);
      at = end + 1;
    }
    held = bytes.subarray(at);
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

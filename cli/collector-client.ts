import type { IncomingMessage } from 'node:http';
import { ChaperoneError } from '#core/errors.ts';
import { tryParseFrame, type Frame } from '#core/record/frame.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import { askServer, textOf, type Asked, type CollectorAccess } from './server-access.ts';

const maxPage = 1_000; // of the collector

interface ClientOptions {
  /** How long an answer may take to begin, and stand still. Default 30 000. */
  readonly timeoutMs?: number;
}

type Query = Readonly<Record<string, string | undefined>>;

/** Reads from a collector over HTTPS with its CA pinned. */
export class CollectorClient {
  readonly #access: CollectorAccess;
  readonly #timeoutMs: number;

  constructor(access: CollectorAccess, { timeoutMs = 30_000 }: ClientOptions = {}) {
    this.#access = access;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws ChaperoneError `config-invalid` with what the collector says. */
  async json<T>(path: string): Promise<T> {
    return JSON.parse(
      await textOf(await this.#ask({ method: 'GET', path, token: this.#access.readToken })),
    ) as T; // this release's own collector answered
  }

  /** The newest sessions, as many as the collector gives at once. */
  async sessions(query: Query): Promise<SessionSummary[]> {
    const answer = await this.json<{ sessions: SessionSummary[] }>(
      withQuery('/v1/sessions', query),
    );
    return answer.sessions;
  }

  /** The newest sessions up to `most`, and whether there are more. */
  async newestSessions(
    query: Query,
    most: number,
  ): Promise<{ readonly sessions: readonly SessionSummary[]; readonly hasMore: boolean }> {
    const found: SessionSummary[] = [];
    const limit = String(Math.min(maxPage, most + 1)); // one beyond tells that there are more
    const pages = this.pages<SessionPage>('/v1/sessions', { ...query, limit });
    for await (const { sessions } of pages) {
      found.push(...sessions);
      if (found.length > most) break;
    }
    return { sessions: found.slice(0, most), hasMore: found.length > most };
  }

  async session(id: string): Promise<SessionSummary> {
    return this.json<SessionSummary>(`/v1/sessions/${encodeURIComponent(id)}`);
  }

  /** Yields all that a list has, page by page. */
  async *pages<Page extends { readonly next: string | number | null }>(
    path: string,
    query: Query = {},
  ): AsyncGenerator<Page> {
    for (let next: string | number | null | undefined; next !== null;) {
      const before = next === undefined ? undefined : String(next);
      const page: Page = await this.json<Page>(withQuery(path, { ...query, before }));
      yield page;
      next = page.next;
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
    const response = await this.#ask({ method: 'GET', path, token: this.#access.readToken });
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

  /** Orders something as an operator, and waits for as long as it takes: it goes on whether or not anybody waits. */
  async order<T>(method: 'POST' | 'PUT', path: string, body: object): Promise<T> {
    const token = this.#access.operatorToken();
    return JSON.parse(await textOf(await this.#ask({ method, path, token, body }))) as T; // as for `json`
  }

  async #ask(asked: Omit<Asked, 'timeoutMs'>): Promise<IncomingMessage> {
    return askServer(this.#access, { ...asked, timeoutMs: this.#timeoutMs });
  }
}

/** A page of a list of sessions. */
export interface SessionPage {
  readonly sessions: readonly SessionSummary[];
  readonly next: string | null;
}

function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
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

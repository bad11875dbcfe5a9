import { once } from 'node:events';
import { connect } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import type { Answer, Question, Understood } from '#core/policy/question.ts';

const timeoutMs = 15_000; // the sidecar gives up before
/** As much as a sidecar takes, and more than it judges: what is longer comes out as too long all the same. */
const maxTextLength = 300_000;

type Told = Understood | { readonly problem: string };

/** Asks a running sidecar, which is of this release, over its admin socket: one connection for each request. */
export class SidecarClient {
  readonly #path: string;

  constructor(adminSocket: string) {
    this.#path = adminSocket;
  }

  /** Ends a session. Returns the ids of those that were meant; several are not ended. */
  async kill(session: string): Promise<readonly string[]> {
    const { sessions } = await this.#ask<{ sessions: readonly string[] }>({
      command: 'kill',
      session,
    });
    return sessions;
  }

  explain(question: Question): Promise<Answer> {
    return this.#ask({
      command: 'explain',
      question: { ...question, text: bounded(question.text) },
    });
  }

  /** What a text does, by the catalogue of its database. */
  read({
    backend,
    database,
    text,
  }: Pick<Question, 'backend' | 'database' | 'text'>): Promise<Told> {
    return this.#ask({ command: 'read', text: { backend, database, text: bounded(text) } });
  }

  async #ask<T>(request: object): Promise<T> {
    const socket = connect(this.#path).setEncoding('utf8');
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')));
    const pieces: string[] = [];
    socket.on('data', (chunk: string) => void pieces.push(chunk));
    socket.end(`${JSON.stringify(request)}\n`);
    try {
      await once(socket, 'close');
      return JSON.parse(pieces.join('')) as T; // this release's own sidecar answered
    } catch (cause) {
      throw new ChaperoneError('config-invalid', 'the sidecar does not answer: is it running?', {
        cause,
      });
    }
  }
}

function bounded(text: string): string {
  return text.slice(0, maxTextLength);
}

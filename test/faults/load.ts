import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseError, type Client } from 'pg';
import type { TestInstance } from '../support/instance.ts';
import { Random } from '../support/random.ts';
import { until } from '../support/until.ts';
import { Book, type Fate } from './book.ts';

export interface LoadOptions {
  readonly seed: number;
  readonly agents?: number;
  /** How long an agent waits between two statements. */
  readonly pauseMs?: number;
  /** How many statements an agent sends at most over one connection. */
  readonly session?: number;
  /** One answer in this many is a long one, of some hundred kilobytes. */
  readonly long?: number;
}

/** A statement that is sent as one request, and how many rows it returns when it succeeds. */
interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: unknown[];
  readonly rows: number;
}

/** One connection of an agent. */
interface Connection {
  readonly client: Client;
  readonly random: Random;
  /** The statement that it has prepared; its text has the number of the one that it was prepared for. */
  prepared: { readonly name: string; readonly text: string } | undefined;
}

const retryMs = 20;
const longBytes = 2_000;

/**
 * Agents that go on, whatever happens to their connections. Every statement has a mark of its own, by which it is found
 * in what the backend has seen and in what is stored.
 */
export class Load implements AsyncDisposable {
  readonly book = new Book();
  /** SQLSTATEs of all errors that came as answers, with how often. */
  readonly errors = new Map<string, number>();
  readonly #instance: TestInstance;
  readonly #options: LoadOptions;
  readonly #password: string;
  readonly #stop = new AbortController();
  readonly #agents: Promise<void>[];
  #wrong: Error | undefined;

  constructor(instance: TestInstance, password: string, options: LoadOptions) {
    this.#instance = instance;
    this.#options = options;
    this.#password = password;
    this.#agents = Array.from({ length: options.agents ?? 4 }, (_, index) =>
      this.#work(new Random(options.seed * 1_000 + index)),
    );
    for (const agent of this.#agents) agent.catch((error: Error) => (this.#wrong ??= error));
  }

  /** Waits until so many more statements have come to an end of a kind. */
  async more(count: number, fate: Fate = 'answered', timeoutMs = 60_000): Promise<void> {
    const before = this.book.count(fate);
    await until(
      `${count} more statements are ${fate}`,
      () => {
        if (this.#wrong !== undefined) throw this.#wrong;
        return this.book.count(fate) >= before + count;
      },
      timeoutMs,
    ).catch((error: Error) => {
      const met = JSON.stringify(Object.fromEntries(this.errors));
      throw new Error(`${error.message}; met so far: ${met}`, { cause: error });
    });
  }

  /** How many statements and logins were refused because they could not be recorded. */
  get refusals(): number {
    return this.errors.get('53100') ?? 0;
  }

  /** Waits until so many more statements and logins were refused because they could not be recorded. */
  async moreRefusals(count: number): Promise<void> {
    const before = this.refusals;
    await until(`${count} more refusals`, () => this.refusals >= before + count, 180_000);
  }

  /** Begins a statement that will not end before what it goes through is killed, and waits until the backend runs it. */
  async hold(): Promise<void> {
    const client = await this.#instance.connect({ password: this.#password });
    const mark = this.book.begin();
    const query = client.query(`SELECT pg_sleep(600) -- mark_${mark}_`);
    query.catch((error: unknown) => this.#note(error));
    await until('it runs', () => this.#instance.backendLog().includes(`mark_${mark}_`));
  }

  /** Lets every agent end the statement that it waits for, and close its connection. @throws when an answer was wrong. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#agents);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#agents);
  }

  async #work(random: Random): Promise<void> {
    while (!this.#stop.signal.aborted) {
      let client: Client | undefined;
      try {
        client = await this.#instance.connect({ password: this.#password });
        await this.#serve({ client, random, prepared: undefined });
        await client.end();
      } catch (error) {
        if (error instanceof WrongAnswer) throw error;
        this.#note(error);
        client?.end().catch(() => undefined); // what it talked to was killed: that is the test
        await delay(retryMs);
      }
    }
  }

  /** Works over one connection. @throws when it is gone. */
  async #serve(connection: Connection): Promise<void> {
    const { random } = connection;
    const { session = 500 } = this.#options;
    for (let left = 1 + random.below(session); left > 0; left -= 1) {
      if (this.#stop.signal.aborted) return;
      if (random.below(20) === 0) await this.#transact(connection);
      else await this.#send(connection, (mark) => this.#draw(mark, connection));
      if (this.#options.pauseMs !== undefined) await delay(this.#options.pauseMs);
    }
  }

  async #transact(connection: Connection): Promise<void> {
    const [begin, commit, rollback] = ['BEGIN', 'COMMIT', 'ROLLBACK'].map(
      (command) => (mark: number) => ({ text: `${command} -- mark_${mark}_`, rows: 0 }),
    ) as [Draw, Draw, Draw]; // one for each
    if ((await this.#send(connection, begin)) !== 'answered') return;
    for (let left = 1 + connection.random.below(4); left > 0; left -= 1) {
      const fate = await this.#send(connection, (mark) => this.#draw(mark, connection));
      if (fate === 'answered') continue;
      if ((await this.#send(connection, rollback)) !== 'answered')
        throw new Error('the transaction cannot be ended');
      return;
    }
    if ((await this.#send(connection, commit)) !== 'answered')
      throw new Error('the transaction cannot be ended');
  }

  #draw(mark: number, { random, prepared }: Connection): Statement {
    const rows = random.below(20);
    const { long } = this.#options;
    if (long !== undefined && random.below(long) === 0) {
      const text = `SELECT repeat('x', ${longBytes}) FROM generate_series(1, 200) -- mark_${mark}_`;
      return { text, rows: 200 };
    }
    switch (random.below(8)) {
      case 0:
        return { text: `SELECT 1 / 0 AS mark_${mark}_`, rows: 0 };
      case 1:
      case 2: {
        const text = `SELECT $1::text, 'of mark_${mark}_' FROM generate_series(1, ${rows})`;
        return { text, values: [`mark_${mark}_`], rows };
      }
      case 3:
      case 4:
      case 5: {
        const { name, text } = prepared ?? {
          name: `rows_${mark}`,
          text: `SELECT $1::text, i AS text_${mark}_ FROM generate_series(1, $2::int) AS i`,
        };
        return { name, text, values: [`mark_${mark}_`, rows], rows };
      }
      default:
        return { text: `SELECT 'mark_${mark}_', i FROM generate_series(1, ${rows}) AS i`, rows };
    }
  }

  /** Sends one statement and enters what becomes of it. @throws when the connection is gone. */
  async #send(connection: Connection, draw: Draw): Promise<Fate> {
    const mark = this.book.begin();
    const { rows, ...query } = draw(mark);
    let count: number;
    try {
      count = (await connection.client.query(query)).rows.length;
      const { name, text } = query;
      if (name !== undefined) connection.prepared = { name, text };
    } catch (error) {
      const fate = fateOf(error);
      if (fate === undefined) throw error;
      this.#note(error);
      this.book.end(mark, fate);
      return fate;
    }
    if (count !== rows) throw new WrongAnswer(`mark_${mark}_ has ${count} rows, not ${rows}`);
    this.book.end(mark, 'answered', rows);
    return 'answered';
  }

  #note(error: unknown): void {
    const code = error instanceof DatabaseError ? (error.code ?? 'none') : 'no answer';
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }
}

type Draw = (mark: number) => Statement;

class WrongAnswer extends Error {}

/** What an error says of the statement that it answers; undefined when it ends the connection. */
function fateOf(error: unknown): Fate | undefined {
  if (!(error instanceof DatabaseError) || error.severity === 'FATAL') return undefined;
  switch (error.code) {
    case '22012': // division by zero
      return 'failed';
    case '42501':
      return 'denied';
    case '53100':
      return error.message.includes('was not run') ? 'notRun' : 'withheld';
    default:
      return undefined;
  }
}

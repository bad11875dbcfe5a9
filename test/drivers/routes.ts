import assert from 'node:assert/strict';
import { Client } from 'pg';
import { transcribe } from '#core/postgres/transcript.ts';
import type { OutcomeStatus } from '#core/record/kinds.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import {
  startBackendServer,
  type BackendServer,
  type BackendServerOptions,
} from '../support/backend-server.ts';
import { allSessions } from '../support/instance.ts';
import { untilStored } from '../support/metrics.ts';
import { isWhole } from '../support/random.ts';
import { startThrough, type Through, type ThroughOptions } from '../support/through.ts';
import { until } from '../support/until.ts';

/** What a driver is told; all that differs between the two routes. */
export interface Login {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** File with the CA of whoever answers at the port. */
  readonly caFile: string;
}

/** A request as the transcript of its session has it. */
export interface RecordedRequest {
  readonly text: string;
  readonly parameters: (string | null)[];
  readonly rows: (string | null)[][];
  readonly copied: string[];
  readonly notes: string[];
  /** SQLSTATEs. */
  readonly errors: string[];
  status: OutcomeStatus | undefined;
  command: string | undefined;
}

export interface RecordedSession {
  readonly backendPid: number;
  readonly requests: RecordedRequest[];
}

export interface Compared<T> {
  readonly result: T;
  readonly sessions: RecordedSession[];
  readonly requests: RecordedRequest[];
}

/** Whether a server is tried with values of many megabytes: in `npm test` only one is. */
export const takesLarge = (version: BackendServerOptions['version']): boolean =>
  version === 18 || isWhole;

const database = 'drivers';
const template = 'drivers_template';

/** The same server by two routes: direct, and through a sidecar. */
export class Routes implements AsyncDisposable {
  readonly server: BackendServer;
  readonly through: Through;
  readonly #admin: Client;
  #markers = 0;

  private constructor(server: BackendServer, through: Through, admin: Client) {
    this.server = server;
    this.through = through;
    this.#admin = admin;
  }

  /** Each database begins with `contents`. */
  static async start(
    options: BackendServerOptions,
    contents = '',
    throughOptions: ThroughOptions = {},
  ): Promise<Routes> {
    const server = await startBackendServer({
      ...options,
      settings: {
        ...options.settings,
        log_statement: 'all',
        log_line_prefix: '[%p] ',
        log_parameter_max_length: '0',
        log_error_verbosity: 'terse',
      },
    });
    const through = await startThrough(server, throughOptions);
    const { host, port, user, password, ca } = server;
    const ssl = ca === undefined ? {} : { ssl: { ca } };
    const admin = new Client({ host, port, user, password, database: 'postgres', ...ssl });
    await admin.connect();
    await admin.query(`CREATE DATABASE ${template}`);
    const client = new Client({ host, port, user, password, database: template, ...ssl });
    await client.connect();
    await client.query(contents);
    await client.end();
    return new Routes(server, through, admin);
  }

  /** Settings for the direct route to a new database. */
  async direct(): Promise<Login> {
    await this.#newDatabase();
    const { host, port, user, password, directory } = this.server;
    return { host, port, user, password, database, caFile: `${directory}/ca.crt` };
  }

  /** Settings for the route through the sidecar to a new database, as the agent `who`. */
  async indirect(who: string): Promise<Login> {
    await this.#newDatabase();
    const { host, port, instance } = this.through;
    const password = await instance.token({ sub: who, ttl: '86400' });
    const { caFile } = instance.instance.sidecar;
    return { host, port, user: this.server.user, password, database, caFile };
  }

  /**
   * Runs a scenario by both routes, which must lead to the same. Then compares what was recorded with what the server
   * itself logged.
   */
  async compare<T>(who: string, scenario: (login: Login) => Promise<T>): Promise<Compared<T>> {
    const direct = await scenario(await this.direct());
    const login = await this.indirect(who);
    const before = await this.#logLength();
    const result = await scenario(login);
    assert.deepEqual(result, direct);
    const sessions = await this.recorded(who);
    const after = await this.#logLength();
    assertLogged(sessions, loggedStatements(this.server.log().slice(before, after)));
    return { result, sessions, requests: sessions.flatMap(({ requests }) => requests) };
  }

  /** All sessions of an agent, once everything that it did is stored. Each request has its result. */
  async recorded(who: string): Promise<RecordedSession[]> {
    await untilStored(this.through.instance);
    const collector = this.through.instance.collector();
    const sessions: RecordedSession[] = [];
    for await (const summary of allSessions(collector)) {
      if (summary.user === who) sessions.push(await this.#read(summary));
    }
    for (const { requests } of sessions) {
      for (const { text, status } of requests) assert.ok(status, `no result: ${text}`);
    }
    return sessions.reverse(); // the newest comes first
  }

  async #read({ id }: SessionSummary): Promise<RecordedSession> {
    const requests = new Map<number, RecordedRequest>();
    let backendPid = 0;
    for await (const line of transcribe(this.through.instance.collector().frames(id))) {
      if (line.kind === 'note' && line.seq === undefined)
        backendPid ||= Number(/^served by backend process (\d+)$/.exec(line.text)?.[1] ?? 0);
      if (line.kind === 'request') {
        const text = line.text ?? 'unknown';
        const empty = { parameters: [], rows: [], copied: [], notes: [], errors: [] };
        requests.set(line.seq, { text, ...empty, status: undefined, command: undefined });
      }
      const request = 'seq' in line ? requests.get(line.seq ?? 0) : undefined;
      if (!request) continue;
      if (line.kind === 'parameters') request.parameters.push(...line.values);
      if (line.kind === 'row') request.rows.push([...line.cells]);
      if (line.kind === 'copy') request.copied.push(line.text);
      if (line.kind === 'note') request.notes.push(line.text);
      if (line.kind === 'error') request.errors.push(line.code);
      if (line.kind !== 'outcome') continue;
      assert.equal(request.status, undefined, `two results: ${request.text}`);
      request.status = line.status;
      request.command = line.command;
    }
    return { backendPid, requests: [...requests.values()] };
  }

  /** How long the server's log is, once everything that it has done is in it. */
  async #logLength(): Promise<number> {
    const marker = `SELECT 'marker ${(this.#markers += 1)}'\n`;
    await this.#admin.query(marker.trimEnd());
    await until('the log is complete', () => this.server.log().includes(marker));
    return this.server.log().indexOf(marker) + marker.length;
  }

  async #newDatabase(): Promise<void> {
    const others = `SELECT 1 FROM pg_stat_activity WHERE datname = '${database}'`;
    // A backend may end after its client has.
    await until('nobody is connected', async () => {
      const { rows } = await this.#admin.query(others);
      return rows.length === 0;
    });
    await this.#admin.query(`DROP DATABASE IF EXISTS ${database}`);
    await this.#admin.query(`CREATE DATABASE ${database} TEMPLATE ${template}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#admin.end();
    await this.through[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** The only request with a text. */
export function requestOf(requests: readonly RecordedRequest[], text: string): RecordedRequest {
  const [request, ...others] = requests.filter((one) => one.text === text);
  assert.ok(request && others.length === 0, `${others.length + 1} or no requests: ${text}`);
  return request;
}

/** Texts of what each backend process ran, by its id. A portal that is executed again is not another statement. */
function loggedStatements(log: string): Map<number, string[]> {
  const begun = /^\[(\d+)\] LOG: {2}(?:statement|execute (?!fetch from )[^\n]*?): /;
  const statements = new Map<number, string[]>();
  for (const entry of log.replaceAll('\n\t', '\u0000').split('\n')) {
    const match = begun.exec(entry);
    if (!match) continue;
    const pid = Number(match[1]);
    const text = entry.slice(match[0].length).replaceAll('\u0000', '\n');
    statements.set(pid, [...(statements.get(pid) ?? []), text]);
  }
  return statements;
}

/**
 * What the server has begun, and nothing else that came to an end, is what was recorded, in the same order. What failed
 * it may have begun or not: it does not log what it could not parse or plan.
 */
function assertLogged(sessions: readonly RecordedSession[], logged: Map<number, string[]>): void {
  for (const { backendPid, requests } of sessions) {
    const texts = logged.get(backendPid) ?? [];
    logged.delete(backendPid);
    let reached = new Set([0]); // how many of the texts the requests so far may stand for
    for (const { text, status } of requests) {
      const next = [...reached].filter((at) => texts[at] === text).map((at) => at + 1);
      const expected = [...reached].map((at) => texts[at]);
      reached = new Set(status === 'ok' ? next : [...reached, ...next]);
      assert.ok(
        reached.size > 0,
        `recorded: ${text}, but the server ran: ${expected.join(' or ')}`,
      );
    }
    const unrecorded = texts.slice(Math.max(...reached)).join('\n');
    assert.ok(reached.has(texts.length), `not recorded: ${unrecorded}`);
  }
  for (const texts of logged.values())
    assert.ok(texts[0]?.startsWith("SELECT 'marker"), `nobody recorded ${texts.join('\n')}`);
}

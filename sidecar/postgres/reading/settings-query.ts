import { randomBytes } from 'node:crypto';
import { BackendTag, parseDataRow } from '#core/postgres/backend.ts';
import { buildBind, buildClose, buildExecute, buildParse } from '#core/postgres/frontend.ts';
import { tryTextDecoder } from '#core/postgres/encoding.ts';
import { tryParseSearchPath } from '#core/postgres/search-path.ts';
import type { Meaning } from '#core/postgres/sql/survey.ts';

/** Settings that say what a text means, as the backend itself has them. */
export interface TextMeaning extends Meaning {
  /** Reads bytes of the agent as the backend will; undefined where that is not certain. */
  readonly decode: (bytes: Buffer) => string | undefined;
  /** Whether a backslash in a string is nothing but a backslash, as the grammar takes it. */
  readonly standardStrings: boolean;
  /** The same for equal meanings. */
  readonly key: string;
}

/** In the order in which they are asked for. */
const asked = [
  'search_path',
  'role',
  'session_authorization',
  'standard_conforming_strings',
  'client_encoding',
] as const;
const maxAnswerBytes = 65_536;
const repliesEach = 6; // ParseComplete, BindComplete, DataRow, CommandComplete and two CloseComplete
const headerBytes = 5;

/**
 * Asks the backend, within the agent's own session, for the settings that say what a text means: nothing else knows what
 * SET LOCAL, functions and rollbacks have made of them. SHOW takes no snapshot, so that a transaction that the agent has
 * begun may still choose its own; and it goes by names that nobody else uses, so that the agent's unnamed statement and
 * portal stay what they are.
 */
export class SettingsQuery {
  readonly frames: Buffer;
  readonly #values: Buffer[] = [];
  #row: Buffer[] = [];
  #rowBytes = 0;
  #replies = 0;
  #failed = false;

  constructor() {
    const name = `chaperone_${randomBytes(16).toString('hex')}`;
    const frames = asked.flatMap((setting) => [
      buildParse(name, `SHOW ${setting}`),
      buildBind(name, name),
      buildExecute(name, 0),
      buildClose({ kind: 'portal', name }),
      buildClose({ kind: 'statement', name }),
    ]);
    this.frames = Buffer.concat(frames);
  }

  /** Takes a reply, of which the bytes are there that came. Returns whether every answer has come. */
  take(tag: number, bytes: Buffer, ended: number): boolean {
    if (tag !== BackendTag.DataRow) {
      this.#replies += 1;
      return this.#replies === asked.length * repliesEach;
    }
    this.#rowBytes += bytes.length;
    if (this.#rowBytes > maxAnswerBytes) this.#failed = true;
    else this.#row.push(Buffer.from(bytes));
    if (ended > 0) this.#endRow();
    this.#replies += ended;
    return false;
  }

  fail(): void {
    this.#failed = true;
  }

  /** What the settings mean; undefined when they could not be asked for or read. */
  get meaning(): TextMeaning | undefined {
    const [path, role, authorization, strings, encoding] = this.#values;
    if (this.#failed || !path || !role || !authorization || !strings || !encoding) return undefined;
    const clientEncoding = encoding.toString('latin1');
    const decode = tryTextDecoder(clientEncoding);
    const searchPath = tryParseSearchPath(decode(path) ?? '"');
    const roleName = decode(role);
    const user = roleName === 'none' ? decode(authorization) : roleName;
    if (!searchPath || user === undefined) return undefined;
    const standardStrings = strings.toString('latin1') === 'on';
    const key = JSON.stringify([searchPath, user]);
    return { searchPath, currentUser: user, decode, standardStrings, key };
  }

  #endRow(): void {
    const row = Buffer.concat(this.#row);
    this.#row = [];
    this.#rowBytes = 0;
    const [cell] = parseDataRow(row.subarray(headerBytes));
    if (cell) this.#values.push(cell);
    else this.#failed = true;
  }
}

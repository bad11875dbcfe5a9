import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import {
  BackendTag,
  parseDataRow,
  parseErrorFields,
  parseReadyForQuery,
} from '#core/postgres/backend.ts';
import { decodeUtf8 } from '#core/postgres/encoding.ts';
import { FrameSplitter, type Piece } from '#core/postgres/frames.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import type { LaneHost, Target } from '../../lane.ts';
import { connectToBackend } from '../backend-connection.ts';
import { logInToBackend } from '../backend-login.ts';

/** A row in PostgreSQL's text format. */
export type Row = readonly (string | null)[];

/** Of one message: a row of the catalogue is names, and lists of columns. */
const maxMessageBytes = 1024 * 1024;

interface Asked {
  readonly rows: Row[];
  bytesLeft: number;
  readonly resolve: (rows: readonly Row[]) => void;
  readonly reject: (error: Error) => void;
}

/** A connection of the sidecar's own, which asks one thing after the other. After an error it is closed. */
export class CatalogueConnection {
  readonly #socket: Duplex;
  readonly #splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes,
    oversized: 'throw',
  });
  #asked: Asked | undefined;

  private constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => socket.destroy()).on('end', () => socket.destroy());
    socket.on('close', () => {
      this.#fail(new ChaperoneError('connection-closed', 'the backend closed the connection'));
    });
    socket.resume();
  }

  /**
   * Logs in with the Backend's credential. @throws ChaperoneError as `connectToBackend` and `logInToBackend` do; the
   * signal's reason.
   */
  static async open(
    target: Target,
    host: LaneHost,
    database: string,
    signal: AbortSignal,
  ): Promise<CatalogueConnection> {
    const { credential: ref } = target.backend;
    if (!ref) throw new ChaperoneError('backend-login-failed', 'the Backend has no credential');
    const credential = host.credential(ref);
    const backend = await connectToBackend(target, host, signal);
    try {
      const parameters = new Map([
        ['user', credential.username],
        ['database', database],
        ['application_name', 'chaperone'],
        ['client_encoding', 'UTF8'],
      ]);
      await logInToBackend(backend, { credential, parameters, signal });
      return new CatalogueConnection(backend.socket);
    } catch (error) {
      backend.socket.destroy();
      throw error;
    }
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /**
   * Runs a text, which may be several statements, and returns all their rows.
   * @throws ChaperoneError `backend-refused` with the backend's own words, `too-large` past `maxBytes`,
   * `connection-closed`, `protocol-violation`; the signal's reason. The connection is then closed.
   */
  async query(sql: string, maxBytes: number, signal: AbortSignal): Promise<readonly Row[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Row[]>();
    const aborted = (): void => this.#fail(signal.reason);
    signal.addEventListener('abort', aborted, { once: true });
    try {
      signal.throwIfAborted();
      this.#asked = { rows: [], bytesLeft: maxBytes, resolve, reject };
      if (!this.isOpen) this.#fail(new ChaperoneError('connection-closed', 'it was closed'));
      this.#socket.write(buildMessage('Q', sql));
      return await promise;
    } finally {
      signal.removeEventListener('abort', aborted);
    }
  }

  close(): void {
    if (this.isOpen && !this.#asked) this.#socket.end(buildMessage('X'));
    else this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      for (const piece of this.#splitter.push(chunk)) this.#read(piece);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error('unknown', { cause: error }));
    }
  }

  #read(piece: Piece): void {
    if (piece.kind !== 'message') throw unexpected(piece.tag);
    const { tag, body } = piece;
    switch (tag) {
      case BackendTag.DataRow:
        return this.#addRow(body);
      case BackendTag.ReadyForQuery: {
        parseReadyForQuery(body);
        const asked = this.#asked;
        this.#asked = undefined;
        return asked?.resolve(asked.rows);
      }
      case BackendTag.ErrorResponse: {
        const fields = parseErrorFields(body);
        const why = `${fields.get('M') ?? 'no reason given'} (SQLSTATE ${fields.get('C') ?? 'unknown'})`;
        throw new ChaperoneError('backend-refused', why);
      }
      case BackendTag.RowDescription:
      case BackendTag.CommandComplete:
      case BackendTag.NoticeResponse:
      case BackendTag.ParameterStatus:
      case BackendTag.NotificationResponse:
        return undefined;
      default:
        throw unexpected(tag);
    }
  }

  #addRow(body: Buffer): void {
    const asked = this.#asked;
    if (!asked) throw unexpected(BackendTag.DataRow);
    asked.bytesLeft -= body.length;
    if (asked.bytesLeft < 0) throw new ChaperoneError('too-large', 'an answer without end');
    asked.rows.push(parseDataRow(body).map((cell) => (cell ? decodeUtf8(cell) : null)));
  }

  #fail(error: Error): void {
    const asked = this.#asked;
    this.#asked = undefined;
    this.#socket.destroy();
    asked?.reject(error);
  }
}

function unexpected(tag: number): ChaperoneError {
  return new ChaperoneError('protocol-violation', `an unexpected message (${tag})`);
}

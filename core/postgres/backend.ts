import { ChaperoneError } from '../errors.ts';
import type { DecodeText } from './encoding.ts';
import { BodyReader, buildMessage, int32 } from './reader.ts';

/** Tags of the messages that a server sends. */
export const BackendTag = {
  Authentication: 0x52, // R
  BackendKeyData: 0x4b, // K
  BindComplete: 0x32, // 2
  CloseComplete: 0x33, // 3
  CommandComplete: 0x43, // C
  CopyBothResponse: 0x57, // W
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyInResponse: 0x47, // G
  CopyOutResponse: 0x48, // H
  DataRow: 0x44, // D
  EmptyQueryResponse: 0x49, // I
  ErrorResponse: 0x45, // E
  FunctionCallResponse: 0x56, // V
  NegotiateProtocolVersion: 0x76, // v
  NoData: 0x6e, // n
  NoticeResponse: 0x4e, // N
  NotificationResponse: 0x41, // A
  ParameterDescription: 0x74, // t
  ParameterStatus: 0x53, // S
  ParseComplete: 0x31, // 1
  PortalSuspended: 0x73, // s
  ReadyForQuery: 0x5a, // Z
  RowDescription: 0x54, // T
} as const;

/** 'I' outside a transaction, 'T' in one, 'E' in one that failed. */
export type TransactionStatus = 'I' | 'T' | 'E';

/** What the server asks for at login. */
export type Authentication =
  | { readonly kind: 'ok' | 'cleartext' | 'other' }
  | { readonly kind: 'md5'; readonly salt: Buffer }
  | { readonly kind: 'sasl'; readonly mechanisms: readonly string[] }
  | { readonly kind: 'sasl-continue' | 'sasl-final'; readonly data: string };

/**
 * Reads a request of the login; `other` is one that nothing here answers.
 * @throws ChaperoneError `protocol-violation`.
 */
export function parseAuthentication(body: Buffer): Authentication {
  const reader = new BodyReader(body);
  switch (reader.int32()) {
    case 0:
      return { kind: 'ok' };
    case 3:
      return { kind: 'cleartext' };
    case 5:
      return { kind: 'md5', salt: reader.bytes(4) };
    case 10: {
      const mechanisms: string[] = [];
      for (let name = reader.cstring(); name !== ''; name = reader.cstring()) mechanisms.push(name);
      return { kind: 'sasl', mechanisms };
    }
    case 11:
      return { kind: 'sasl-continue', data: reader.rest().toString('utf8') };
    case 12:
      return { kind: 'sasl-final', data: reader.rest().toString('utf8') };
    default:
      return { kind: 'other' };
  }
}

/** Reads a setting that the server reports. @throws ChaperoneError `protocol-violation`. */
export function parseParameterStatus(body: Buffer): {
  readonly name: string;
  readonly value: string;
} {
  const reader = new BodyReader(body);
  const status = { name: reader.cstring(), value: reader.cstring() };
  reader.end();
  return status;
}

/** The secret has 4 bytes in protocol 3.0, up to 256 in 3.2. */
export function parseBackendKeyData(body: Buffer): {
  readonly processId: number;
  readonly secret: Buffer;
} {
  const reader = new BodyReader(body);
  const processId = reader.int32();
  return { processId, secret: Buffer.from(reader.rest()) };
}

/** Reads the state after a query or a Sync. @throws ChaperoneError `protocol-violation`. */
export function parseReadyForQuery(body: Buffer): TransactionStatus {
  const byte = body.length === 1 ? body[0] : undefined;
  if (byte === 0x49) return 'I';
  if (byte === 0x54) return 'T';
  if (byte === 0x45) return 'E';
  throw new ChaperoneError('protocol-violation', 'found a ReadyForQuery without a status');
}

/** One column of a RowDescription. */
export interface Field {
  readonly name: string;
  /** 0 where the column is not a table's. */
  readonly tableOid: number;
  readonly attributeNumber: number;
  readonly typeOid: number;
  readonly typeLength: number;
  readonly typeModifier: number;
  /** 0 text, 1 binary; 0 as well where Describe named a statement, whose formats are not known yet. */
  readonly format: number;
}

/**
 * Reads the columns of an answer; `decode` turns their names into text, as UTF-8 by default.
 * @throws ChaperoneError `protocol-violation`.
 */
export function parseRowDescription(body: Buffer, decode?: DecodeText): Field[] {
  const reader = new BodyReader(body, decode);
  const fields = Array.from({ length: reader.count() }, () => ({
    name: reader.cstring(),
    tableOid: reader.uint32(),
    attributeNumber: reader.int16(),
    typeOid: reader.uint32(),
    typeLength: reader.int16(),
    typeModifier: reader.int32(),
    format: reader.int16(),
  }));
  reader.end();
  return fields;
}

/** Returns the OIDs of a statement's parameter types. */
export function parseParameterDescription(body: Buffer): number[] {
  const reader = new BodyReader(body);
  const types = Array.from({ length: reader.count() }, () => reader.uint32());
  reader.end();
  return types;
}

/** Returns views of the cells; undefined is NULL. */
export function parseDataRow(body: Buffer): (Buffer | undefined)[] {
  const reader = new BodyReader(body);
  const cells = Array.from({ length: reader.count() }, () => reader.value());
  reader.end();
  return cells;
}

/** Returns the command tag, such as `INSERT 0 1`. */
export function parseCommandComplete(body: Buffer): string {
  return new BodyReader(body).cstring();
}

/** Returns the fields of an ErrorResponse or NoticeResponse by their code letter. */
export function parseErrorFields(body: Buffer, decode?: DecodeText): ReadonlyMap<string, string> {
  const reader = new BodyReader(body, decode);
  const fields = new Map<string, string>();
  for (let code = reader.byte(); code !== 0; code = reader.byte()) {
    fields.set(String.fromCharCode(code), reader.cstring());
  }
  return fields;
}

/** A backend that is not what it should be may send any text in place of a SQLSTATE; it is no content, so it has its form. */
function tryParseSqlState(text: string): string | undefined {
  return /^[0-9A-Z]{5}$/.test(text) ? text : undefined;
}

/** Returns the SQLSTATE of an ErrorResponse, also when only the beginning of it is there. */
export function tryParseErrorCode(body: Buffer): string | undefined {
  for (let at = 0; at < body.length && body[at] !== 0;) {
    const end = body.indexOf(0, at);
    if (end < 0) return undefined;
    if (body[at] === 0x43) return tryParseSqlState(body.toString('latin1', at + 1, end)); // C
    at = end + 1;
  }
  return undefined;
}

/** Reads what NOTIFY sent; `processId` is the notifying backend's. @throws ChaperoneError `protocol-violation`. */
export function parseNotification(
  body: Buffer,
  decode?: DecodeText,
): {
  readonly processId: number;
  readonly channel: string;
  readonly payload: string;
} {
  const reader = new BodyReader(body, decode);
  return { processId: reader.int32(), channel: reader.cstring(), payload: reader.cstring() };
}

/** Builds the end of a login that was accepted. */
export function buildAuthenticationOk(): Buffer {
  return buildMessage('R', int32(0));
}

/** Builds the request for a password as it is. */
export function buildAuthenticationCleartextPassword(): Buffer {
  return buildMessage('R', int32(3));
}

/** Offers SASL mechanisms. */
export function buildAuthenticationSasl(mechanisms: readonly string[]): Buffer {
  return buildMessage('R', int32(10), ...mechanisms, Buffer.from([0]));
}

/** Answers a startup that asked for more than protocol 3.`minor` or for options that do not exist. */
export function buildNegotiateProtocolVersion(minor: number, options: readonly string[]): Buffer {
  return buildMessage('v', int32((3 << 16) | minor), int32(options.length), ...options);
}

/** Builds the report of a setting. */
export function buildParameterStatus(name: string, value: string): Buffer {
  return buildMessage('S', name, value);
}

/** Builds the key that a client cancels with; see `parseBackendKeyData` for its length. */
export function buildBackendKeyData(key: {
  readonly processId: number;
  readonly secret: Buffer;
}): Buffer {
  return buildMessage('K', int32(key.processId), key.secret);
}

/** Builds the message after which a client may send its next query. */
export function buildReadyForQuery(status: TransactionStatus): Buffer {
  return buildMessage('Z', Buffer.from(status, 'latin1'));
}

/** An error as a client shows it. */
export interface ErrorFields {
  readonly severity: 'ERROR' | 'FATAL';
  /** SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  /** Where in the text, in characters from 1. */
  readonly position?: number | undefined;
}

/** Builds an ErrorResponse. A NUL in a text would begin a field of the text's choice, so none is let through. */
export function buildErrorResponse(fields: ErrorFields): Buffer {
  const { severity, code, message, detail, hint, position } = fields;
  const field = (letter: string, text: string | undefined): string[] =>
    text === undefined ? [] : [`${letter}${text.replaceAll('\0', ' ')}`];
  return buildMessage(
    'E',
    ...field('S', severity),
    ...field('V', severity),
    ...field('C', code),
    ...field('M', message),
    ...field('D', detail),
    ...field('H', hint),
    ...field('P', position?.toString()),
    Buffer.from([0]),
  );
}

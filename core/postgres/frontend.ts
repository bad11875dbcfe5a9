import { ChaperoneError } from '../errors.ts';
import { BodyReader, buildMessage, int32 } from './reader.ts';

/** Tags of the messages that a client sends. */
export const FrontendTag = {
  Bind: 0x42, // B
  Close: 0x43, // C
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyFail: 0x66, // f
  Describe: 0x44, // D
  Execute: 0x45, // E
  Flush: 0x48, // H
  FunctionCall: 0x46, // F
  Parse: 0x50, // P
  Password: 0x70, // p: PasswordMessage, SASLInitialResponse, SASLResponse
  Query: 0x51, // Q
  Sync: 0x53, // S
  Terminate: 0x58, // X
} as const;

/** Returns the text of a Query, as bytes of the client's encoding. */
export function parseQuery(body: Buffer): Buffer {
  const reader = new BodyReader(body);
  const text = reader.cstringBytes();
  reader.end();
  return text;
}

/** PostgreSQL keeps names of statements and portals in tables whose keys have this many bytes (NAMEDATALEN - 1). */
export const maxNameBytes = 63;

/**
 * Reads a name as the backend will look it up, a character a byte, so that two spellings which mean one statement are
 * one name here too: a longer name is cut as the backend cuts it.
 */
function readName(reader: BodyReader): string {
  return reader.cstringBytes().toString('latin1', 0, maxNameBytes);
}

/** Whether a name means the same under every client_encoding. */
export function isAsciiName(name: string): boolean {
  return !/[\u0080-\u{10ffff}]/u.test(name);
}

/** A statement that is to be prepared. */
export interface ParseMessage {
  /** As the backend looks it up: at most 63 bytes. Empty for the unnamed statement. */
  readonly name: string;
  readonly query: Buffer;
  /** OIDs of parameter types; 0 leaves the type to the backend. */
  readonly parameterTypes: readonly number[];
}

/**
 * Reads a Parse message; `query` is a view into the body, in the client's encoding.
 * @throws ChaperoneError `protocol-violation`.
 */
export function parseParse(body: Buffer): ParseMessage {
  const reader = new BodyReader(body);
  const name = readName(reader);
  const query = reader.cstringBytes();
  const parameterTypes = list(reader.count(), () => reader.uint32());
  reader.end();
  return { name, query, parameterTypes };
}

/** Returns the statement's name from the beginning of a Parse message. */
export function parseParseName(body: Buffer): string {
  return readName(new BodyReader(body));
}

/** A prepared statement with its parameters, which make it a portal. Names are as in `ParseMessage`. */
export interface BindMessage {
  readonly portal: string;
  readonly statement: string;
  /** None: all text; one: of all; else one a parameter. 0 is text, 1 binary. */
  readonly parameterFormats: readonly number[];
  /** Views into the body; undefined is NULL. */
  readonly parameters: readonly (Buffer | undefined)[];
  readonly resultFormats: readonly number[];
}

/** Reads a Bind message. @throws ChaperoneError `protocol-violation`. */
export function parseBind(body: Buffer): BindMessage {
  const reader = new BodyReader(body);
  const portal = readName(reader);
  const statement = readName(reader);
  const parameterFormats = list(reader.count(), () => reader.int16());
  const parameters = list(reader.count(), () => reader.value());
  const resultFormats = list(reader.count(), () => reader.int16());
  reader.end();
  return { portal, statement, parameterFormats, parameters, resultFormats };
}

/** Returns the names from the beginning of a Bind message. */
export function parseBindNames(body: Buffer): Pick<BindMessage, 'portal' | 'statement'> {
  const reader = new BodyReader(body);
  return { portal: readName(reader), statement: readName(reader) };
}

/** A call by the fast-path interface. */
export interface FunctionCallMessage {
  /** OID of the function. */
  readonly function: number;
  readonly argumentFormats: readonly number[];
  /** Undefined is NULL. */
  readonly arguments: readonly (Buffer | undefined)[];
  readonly resultFormat: number;
}

/** Reads a FunctionCall message; arguments are views into the body. @throws ChaperoneError `protocol-violation`. */
export function parseFunctionCall(body: Buffer): FunctionCallMessage {
  const reader = new BodyReader(body);
  const message = {
    function: reader.uint32(),
    argumentFormats: list(reader.count(), () => reader.int16()),
    arguments: list(reader.count(), () => reader.value()),
    resultFormat: reader.int16(),
  };
  reader.end();
  return message;
}

/** What Describe and Close name. */
export interface NamedObject {
  readonly kind: 'statement' | 'portal';
  readonly name: string;
}

/** Reads a Describe message. @throws ChaperoneError `protocol-violation`. */
export function parseDescribe(body: Buffer): NamedObject {
  const reader = new BodyReader(body);
  const kind = reader.byte();
  const name = readName(reader);
  reader.end();
  if (kind === 0x53) return { kind: 'statement', name };
  if (kind === 0x50) return { kind: 'portal', name };
  throw new ChaperoneError('protocol-violation', 'found a name of neither statement nor portal');
}

/** Reads a Close message, which is laid out as a Describe. */
export const parseClose = parseDescribe;

/** `maxRows` 0 means no limit. */
export function parseExecute(body: Buffer): { readonly portal: string; readonly maxRows: number } {
  const reader = new BodyReader(body);
  const portal = readName(reader);
  const maxRows = reader.int32();
  reader.end();
  return { portal, maxRows };
}

/** Reads a PasswordMessage. @throws ChaperoneError `protocol-violation`. */
export function parsePassword(body: Buffer): string {
  const reader = new BodyReader(body);
  const password = reader.cstring();
  reader.end();
  return password;
}

/** The client's first answer to an offer of SASL mechanisms. */
export function parseSaslInitialResponse(body: Buffer): {
  readonly mechanism: string;
  readonly data: string;
} {
  const reader = new BodyReader(body);
  const mechanism = reader.cstring();
  const data = reader.value();
  reader.end();
  return { mechanism, data: data?.toString('utf8') ?? '' };
}

/** Builds a simple Query, in UTF-8. */
export function buildQuery(text: string): Buffer {
  return buildMessage('Q', text);
}

/** Builds a Parse without parameters, in UTF-8. */
export function buildParse(name: string, query: string): Buffer {
  return buildMessage('P', name, query, Buffer.alloc(2));
}

/** Builds a Bind without parameters, whose results come as text. */
export function buildBind(portal: string, statement: string): Buffer {
  return buildMessage('B', portal, statement, Buffer.alloc(6));
}

/** Builds a Close. */
export function buildClose({ kind, name }: NamedObject): Buffer {
  return buildMessage('C', `${kind === 'statement' ? 'S' : 'P'}${name}`);
}

/** Builds an Execute; `maxRows` 0 means no limit. */
export function buildExecute(portal: string, maxRows: number): Buffer {
  return buildMessage('E', portal, int32(maxRows));
}

/** Builds a Describe; the name is one that `parse*` returned, byte for byte. */
export function buildDescribe({ kind, name }: NamedObject): Buffer {
  return buildMessage('D', Buffer.from(`${kind === 'statement' ? 'S' : 'P'}${name}\0`, 'latin1'));
}

/** Builds the end of a pipeline, which commits what no BEGIN opened. */
export function buildSync(): Buffer {
  return buildMessage('S');
}

/** Builds the request for replies that the server holds back. */
export function buildFlush(): Buffer {
  return buildMessage('H');
}

/** Builds the end of a COPY that the client gives up; the server's error quotes the reason. */
export function buildCopyFail(reason: string): Buffer {
  return buildMessage('f', reason);
}

/** Builds the answer to a request for a password, in the clear or hashed. */
export function buildPassword(password: string): Buffer {
  return buildMessage('p', password);
}

/** Builds the choice of one of the SASL mechanisms on offer, with its first data. */
export function buildSaslInitialResponse(mechanism: string, data: string): Buffer {
  const bytes = Buffer.from(data, 'utf8');
  return buildMessage('p', mechanism, int32(bytes.length), bytes);
}

/** Builds a further answer of a SASL exchange. */
export function buildSaslResponse(data: string): Buffer {
  return buildMessage('p', Buffer.from(data, 'utf8'));
}

function list<T>(count: number, read: () => T): T[] {
  const values: T[] = [];
  for (let index = 0; index < count; index += 1) values.push(read());
  return values;
}

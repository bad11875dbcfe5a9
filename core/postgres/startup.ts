import { ChaperoneError } from '../errors.ts';
import { BodyReader, buildMessage, int16, int32 } from './reader.ts';

/** What a client may begin with (PostgreSQL manual, "Message Formats"). */
export type StartupRequest =
  | { readonly kind: 'ssl-request' }
  | { readonly kind: 'gssenc-request' }
  /** A TLS ClientHello without SSLRequest before it (PostgreSQL 17 and newer, `sslnegotiation=direct`). */
  | { readonly kind: 'direct-tls' }
  | { readonly kind: 'cancel-request'; readonly processId: number; readonly secret: Buffer }
  | {
      readonly kind: 'startup';
      /** Of protocol 3. */
      readonly minor: number;
      readonly parameters: ReadonlyMap<string, string>;
      /** Names of the protocol options (`_pq_.`) that were asked for. */
      readonly options: readonly string[];
    };

/** MAX_STARTUP_PACKET_LENGTH of PostgreSQL. */
export const maxStartupBytes = 10_000;

/** The newest minor version of protocol 3 that is spoken here: 3.2, PostgreSQL 18, with longer cancel keys. */
export const newestMinor = 2;

const codes = { cancel: 80_877_102, ssl: 80_877_103, gssenc: 80_877_104 };
const tlsHandshake = 0x16;

/** Reads the first message of a connection, or undefined while it is incomplete. @throws `protocol-violation`. */
export function tryParseStartup(
  bytes: Buffer,
): { value: StartupRequest; consumed: number } | undefined {
  if (bytes[0] === tlsHandshake) return { value: { kind: 'direct-tls' }, consumed: 0 };
  if (bytes.length < 4) return undefined;
  const length = bytes.readInt32BE(0);
  if (length < 8 || length > maxStartupBytes)
    throw violation(`a startup packet of ${length} bytes`);
  if (bytes.length < length) return undefined;
  const reader = new BodyReader(bytes.subarray(4, length));
  return { value: parseRequest(reader), consumed: length };
}

function parseRequest(reader: BodyReader): StartupRequest {
  const code = reader.uint32();
  switch (code) {
    case codes.ssl:
      reader.end();
      return { kind: 'ssl-request' };
    case codes.gssenc:
      reader.end();
      return { kind: 'gssenc-request' };
    case codes.cancel: {
      const processId = reader.int32();
      const secret = Buffer.from(reader.rest());
      if (secret.length < 4 || secret.length > 256)
        throw violation('a cancel key of impossible length');
      return { kind: 'cancel-request', processId, secret };
    }
    default:
      if (code >>> 16 !== 3) throw violation(`protocol ${code >>> 16}.${code & 0xffff}`);
      return parseParameters(code & 0xffff, reader);
  }
}

function parseParameters(minor: number, reader: BodyReader): StartupRequest {
  const parameters = new Map<string, string>();
  const options: string[] = [];
  for (;;) {
    const name = utf8(reader.cstringBytes());
    if (name === '') break;
    const value = utf8(reader.cstringBytes());
    if (name.startsWith('_pq_.')) options.push(name);
    else if (parameters.has(name)) throw violation('a startup parameter given twice');
    else parameters.set(name, value);
  }
  reader.end();
  return { kind: 'startup', minor, parameters, options };
}

/** Builds a StartupMessage of protocol 3.0. */
export function buildStartup(parameters: ReadonlyMap<string, string>): Buffer {
  const pairs = [...parameters].flat();
  return buildMessage('', int16(3), int16(0), ...pairs, Buffer.from([0]));
}

/** Builds the request for TLS that precedes a startup; the server answers it with one byte. */
export function buildSslRequest(): Buffer {
  return buildMessage('', int32(codes.ssl));
}

/** Builds a cancel, the only message of its connection, which the server closes without an answer. */
export function buildCancelRequest(processId: number, secret: Buffer): Buffer {
  return buildMessage('', int32(codes.cancel), int32(processId), secret);
}

// A decoder takes away a byte order mark unless told otherwise, and with it the difference between two names.
function utf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ChaperoneError('protocol-violation', 'found a startup parameter that is not UTF-8', {
      cause,
    });
  }
}

function violation(what: string): ChaperoneError {
  return new ChaperoneError('protocol-violation', `found ${what}`);
}

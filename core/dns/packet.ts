import {
  decode,
  encode,
  encodingLength,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
  type Answer,
  type MxData,
  type RecordType,
  type SrvData,
} from 'dns-packet';

/** What a resolver is asked, of one name (RFC 1035 section 4.1). */
export interface DnsQuery {
  readonly id: number;
  /** As it was spelled: some clients compare the case of an answer's letters. */
  readonly spelled: string;
  /** In lower case, without a closing dot; empty for the root. */
  readonly name: string;
  /** Such as `AAAA`; `UNKNOWN_65` for a type without a mnemonic here. */
  readonly type: string;
  readonly recursionDesired: boolean;
  /** The longest datagram that the client takes, in bytes; at least 512. */
  readonly maxBytes: number;
  /** Whether the query has an OPT record, so that the answer needs one (RFC 6891). */
  readonly extended: boolean;
}

/** Response codes (RFC 1035 section 4.1.1). */
export type ResponseCode = keyof typeof codes;

/** An answer: what there is under a name, or why there is nothing. */
export interface DnsAnswer {
  readonly code: ResponseCode;
  readonly records: readonly DnsRecord[];
}

/** One record under the name that was asked for; `ttl` in seconds. */
export type DnsRecord = { readonly ttl: number } & (
  | { readonly type: 'A' | 'AAAA' | 'CNAME' | 'NS' | 'PTR'; readonly data: string }
  | { readonly type: 'SRV'; readonly data: SrvData }
  | { readonly type: 'MX'; readonly data: MxData }
  | { readonly type: 'TXT'; readonly data: readonly string[] }
);

/** A query, or what to answer to bytes that are none; undefined where no answer is due. */
export type ReadQuery =
  | { readonly kind: 'query'; readonly query: DnsQuery }
  | { readonly kind: 'fault'; readonly answer: Buffer };

const codes = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;

const headerBytes = 12;
/** Larger than any query that a resolver library sends; longer ones are not read. */
const maxQueryBytes = 1_024;
/** What passes through most networks unfragmented; the kernel's loopback is no network, but clients are built for them. */
const maxDatagramBytes = 1_232;
const maxNameLength = 253;
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const negativeSeconds = 5; // how long a client may remember that there is nothing

/** Reads what came as a query. Never throws, whatever the bytes. */
export function readQuery(bytes: Buffer): ReadQuery | undefined {
  if (bytes.length < headerBytes) return undefined;
  const flags = bytes.readUInt16BE(2);
  if (flags >= 0x8000) return undefined; // an answer: two servers could go on answering each other for ever
  const fault = (code: ResponseCode): ReadQuery => ({
    kind: 'fault',
    answer: buildHeader(bytes.readUInt16BE(0), code, flags),
  });
  if ((flags & 0x7800) !== 0) return fault('NOTIMP'); // no standard query
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) =>
    bytes.readUInt16BE(at),
  );
  const counts = questions === 1 && answers === 0 && authorities === 0 && (additionals ?? 0) <= 1;
  if (!counts || bytes.length > maxQueryBytes) return fault('FORMERR');
  const packet = tryDecode(bytes);
  const [question] = packet?.questions ?? [];
  const [extra] = packet?.additionals ?? [];
  if (!question || (extra && extra.type !== 'OPT')) return fault('FORMERR');
  if (question.class !== 'IN') return fault('REFUSED');
  const spelled = question.name.replace(/\.$/, '');
  const name = spelled.toLowerCase();
  if (name.length > maxNameLength) return fault('FORMERR');
  // What is no name of a host or service leads nowhere, and must not be looked for: a label can hold any bytes.
  const labels = name === '' ? [] : name.split('.');
  if (labels.length !== labelsIn(bytes) || !labels.every((each) => label.test(each)))
    return fault('NXDOMAIN');
  const asked = extra?.type === 'OPT' ? extra.udpPayloadSize : 0;
  return {
    kind: 'query',
    query: {
      id: bytes.readUInt16BE(0),
      spelled,
      name,
      type: question.type,
      recursionDesired: (flags & RECURSION_DESIRED) !== 0,
      maxBytes: Math.min(Math.max(asked, 512), maxDatagramBytes),
      extended: extra !== undefined,
    },
  };
}

/**
 * Writes an answer of at most `maxBytes`. What is longer says so, so that the client asks again by TCP (RFC 2181 section
 * 9), and has the records that there is room for: musl before 1.2.4 never asks again, and goes by those. An answer without
 * records has an SOA, by which clients know that there is nothing (RFC 2308).
 */
export function buildAnswer(query: DnsQuery, answer: DnsAnswer, maxBytes: number): Buffer {
  const whole = encodeAnswer(query, answer, 0);
  if (whole.length <= maxBytes) return whole;
  const { code, records } = answer;
  let room = maxBytes - encodeAnswer(query, { code, records: [] }, TRUNCATED_RESPONSE).length;
  const tooMany = records.findIndex((record) => (room -= lengthOf(query, record)) < 0);
  const fitting = records.slice(0, Math.max(tooMany, 0));
  return encodeAnswer(query, { code, records: fitting }, TRUNCATED_RESPONSE);
}

function lengthOf(query: DnsQuery, record: DnsRecord): number {
  return encodingLength({ answers: [asAnswer(query, record)] }) - headerBytes;
}

function encodeAnswer(query: DnsQuery, { code, records }: DnsAnswer, flags: number): Buffer {
  const negative =
    records.length === 0 && flags === 0 && (code === 'NOERROR' || code === 'NXDOMAIN');
  return encode({
    type: 'response',
    id: query.id,
    flags: flags | RECURSION_AVAILABLE | (query.recursionDesired ? RECURSION_DESIRED : 0) | codes[code],
    // The library takes `UNKNOWN_65` as well, of which its types know nothing.
    questions: [{ name: nameIn(query), type: query.type as RecordType, class: 'IN' }],
    answers: records.map((record) => asAnswer(query, record)),
    authorities: negative ? [soaOf(nameIn(query))] : [],
    additionals: query.extended ? [opt] : [],
  }); // prettier-ignore
}

function asAnswer(query: DnsQuery, record: DnsRecord): Answer {
  return { ...record, name: nameIn(query) } as Answer;
}

function nameIn({ spelled }: DnsQuery): string {
  return spelled === '' ? '.' : spelled;
}

const opt: Answer = { type: 'OPT', name: '.', udpPayloadSize: maxDatagramBytes, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }; // prettier-ignore

function soaOf(name: string): Answer {
  return {
    type: 'SOA',
    name,
    ttl: negativeSeconds,
    data: {
      mname: 'chaperone.invalid',
      rname: 'hostmaster.chaperone.invalid',
      serial: 1,
      refresh: negativeSeconds,
      retry: negativeSeconds,
      expire: negativeSeconds,
      minimum: negativeSeconds,
    },
  };
}

/** How many labels the question's name has; one that holds a dot is not two. */
function labelsIn(packet: Buffer): number {
  let labels = 0;
  for (let at = headerBytes; (packet[at] ?? 0) > 0; at += (packet[at] ?? 0) + 1) labels += 1;
  return labels;
}

function buildHeader(id: number, code: ResponseCode, flags: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x8000 | (flags & 0x7900) | RECURSION_AVAILABLE | codes[code], 2);
  return header;
}

function tryDecode(bytes: Buffer): ReturnType<typeof decode> | undefined {
  try {
    return decode(bytes);
  } catch {
    return undefined; // a length or a pointer that leads out of the packet: whoever sent it is told
  }
}

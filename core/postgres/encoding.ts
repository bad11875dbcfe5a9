/** Turns bytes that a client or a server wrote into text. */
export type DecodeText = (bytes: Buffer) => string;

interface Encoding {
  /** Name of the decoder (WHATWG Encoding Standard). */
  readonly label: string;
  /** Where the decoder's characters are not PostgreSQL's. */
  readonly instead?: ReadonlyMap<string, string>;
  /** Whether bytes below 0x80 are always ASCII, so that the others can be told from them. */
  readonly asciiAlone: boolean;
}

/**
 * PostgreSQL's encodings that a decoder reads as PostgreSQL does; a test compares every character with a server. Of the
 * others (BIG5, UHC, GB18030, JOHAB, MULE_INTERNAL, EUC_TW, and the 2004 editions of SJIS and EUC_JP) there is none, or
 * its tables differ.
 */
const encodings: ReadonlyMap<string, Encoding> = new Map([
  alone('utf8', 'utf-8'),
  alone('latin2', 'iso-8859-2'),
  alone('latin3', 'iso-8859-3'),
  alone('latin4', 'iso-8859-4'),
  alone('latin6', 'iso-8859-10'),
  alone('latin7', 'iso-8859-13'),
  alone('latin8', 'iso-8859-14'),
  alone('latin9', 'iso-8859-15'),
  alone('latin10', 'iso-8859-16'),
  ...[5, 6, 7, 8].map((part) => alone(`iso8859${part}`, `iso-8859-${part}`)),
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8].map((page) => alone(`win125${page}`, `windows-125${page}`)),
  alone('win866', 'ibm866'),
  alone('win874', 'windows-874'),
  alone('koi8r', 'koi8-r'),
  alone('koi8u', 'koi8-u', [['\u045e', '\u255d'], ['\u040e', '\u256c']]), // prettier-ignore
  alone('eucjp', 'euc-jp', [['\u00a6', '\uffe4']]),
  alone('euckr', 'euc-kr'),
  alone('euccn', 'gbk', [['\u00b7', '\u30fb'], ['\u2014', '\u2015']]), // prettier-ignore
  ['gbk', { label: 'gbk', asciiAlone: false }],
  // This decoder takes three control characters for each other.
  ['sjis', { label: 'shift_jis', asciiAlone: false, instead: new Map([['\u001c', '\u001a'], ['\u007f', '\u001c'], ['\u001a', '\u007f']]) }], // prettier-ignore
]);

/** Latin-5 is Latin-1 but for these. */
const latin5 = new Map([
  ['\u00d0', '\u011e'], ['\u00dd', '\u0130'], ['\u00de', '\u015e'],
  ['\u00f0', '\u011f'], ['\u00fd', '\u0131'], ['\u00fe', '\u015f'],
]); // prettier-ignore

/** Further names that PostgreSQL takes; it reports the first ones. */
const aliases: ReadonlyMap<string, string> = new Map([
  ['unicode', 'utf8'],
  ['iso88591', 'latin1'],
  ['iso88592', 'latin2'],
  ['iso88599', 'latin5'],
  ['iso885915', 'latin9'],
  ['koi8', 'koi8r'],
  ['win', 'win1251'],
  ['windows1252', 'win1252'],
  ['shiftjis', 'sjis'],
  ['mskanji', 'sjis'],
  ['win932', 'sjis'],
  ['windows932', 'sjis'],
  ['windows936', 'gbk'],
  ['win936', 'gbk'],
]);

/**
 * Returns a decoder for a `client_encoding`. What it cannot read for certain it shows as bytes, never as characters that
 * may not be the right ones: as `\xNN` within ASCII, or all of it as `\x…`.
 */
export function textDecoder(clientEncoding: string): DecodeText {
  const name = nameOf(clientEncoding);
  if (name === 'latin1') return (bytes) => bytes.toString('latin1');
  if (name === 'latin5') return (bytes) => replaced(bytes.toString('latin1'), latin5);
  if (name === 'sqlascii') return textDecoder('utf8'); // as the server stores it: mostly that
  const encoding = encodings.get(name);
  return encoding ? strictDecoder(encoding) : decodeAscii;
}

/**
 * Returns a decoder for a `client_encoding` that returns undefined for what is not certain to be read as the server
 * reads it.
 */
export function tryTextDecoder(clientEncoding: string): (bytes: Buffer) => string | undefined {
  const name = nameOf(clientEncoding);
  const encoding = encodings.get(name === 'sqlascii' ? 'utf8' : name);
  const decodes = encoding ?? (name === 'latin1' || name === 'latin5' ? 'single bytes' : undefined);
  return (bytes) => {
    if (isAscii(bytes)) return bytes.toString('latin1');
    if (decodes === 'single bytes') return textDecoder(clientEncoding)(bytes);
    if (!decodes) return undefined;
    try {
      const decoder = new TextDecoder(decodes.label, { fatal: true, ignoreBOM: true });
      return replaced(decoder.decode(bytes), decodes.instead);
    } catch {
      return undefined;
    }
  };
}

/** Whether two names are of one encoding. */
export function isSameEncoding(a: string, b: string): boolean {
  return nameOf(a) === nameOf(b);
}

/** The name as PostgreSQL looks it up (`clean_encoding_name`). */
function nameOf(clientEncoding: string): string {
  const cleaned = clientEncoding.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  return aliases.get(cleaned) ?? cleaned;
}

function alone(
  name: string,
  label: string,
  instead: readonly (readonly [string, string])[] = [],
): [string, Encoding] {
  return [name, { label, asciiAlone: true, instead: new Map(instead) }];
}

function strictDecoder({ label, instead, asciiAlone }: Encoding): DecodeText {
  const decoder = new TextDecoder(label, { fatal: true, ignoreBOM: true });
  return (bytes) => {
    try {
      return replaced(decoder.decode(bytes), instead);
    } catch {
      return asciiAlone ? escapeBytes(bytes) : decodeAscii(bytes);
    }
  };
}

function replaced(text: string, instead: ReadonlyMap<string, string> | undefined): string {
  if (!instead || instead.size === 0) return text;
  return Array.from(text, (character) => instead.get(character) ?? character).join('');
}

/** Reads what is ASCII; of anything else the encoding is not known, and it is shown as bytes. */
export const decodeAscii: DecodeText = (bytes) =>
  isAscii(bytes) ? bytes.toString('latin1') : `\\x${bytes.toString('hex')}`;

/** Each byte that is not ASCII as `\xNN`. */
function escapeBytes(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replaceAll(/[\u0080-\u00ff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
}

/** Reads UTF-8, or shows bytes. */
export const decodeUtf8: DecodeText = textDecoder('utf8');

function isAscii(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte >= 0x80) return false;
  return true;
}

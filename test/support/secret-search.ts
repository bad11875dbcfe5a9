import { inflateRawSync, zstdDecompressSync, type ZlibOptions } from 'node:zlib';

/** The ways in which a secret may stand in bytes that are not compressed. */
function encodings(secret: string): [name: string, bytes: string][] {
  const bytes = Buffer.from(secret);
  const offsets = [0, 1, 2].map((offset): [string, string] => {
    // Base64 of text in which the secret begins at any offset modulo 3, without the digits that its neighbours share.
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    return [`base64 at offset ${offset}`, text.slice(Math.ceil((offset * 4) / 3), -2)];
  });
  return [
    ['plain', secret],
    ...offsets,
    ...offsets.map(([name, text]): [string, string] => [
      name.replace('base64', 'base64url'),
      text.replaceAll('+', '-').replaceAll('/', '_'),
    ]),
    ['hex', bytes.toString('hex')],
    ['upper-case hex', bytes.toString('hex').toUpperCase()],
    ['URL-encoded', encodeURIComponent(secret)],
  ];
}

// Raw, because what follows a stream in a file is no error here; the header of a member without a name has 10 bytes.
function inflateMember(bytes: Buffer, options: ZlibOptions): Buffer {
  return inflateRawSync(bytes.subarray(10), options);
}

const magics = [
  { name: 'gzip', magic: Buffer.from([0x1f, 0x8b, 0x08]), inflate: inflateMember },
  { name: 'zstd', magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), inflate: zstdDecompressSync },
] as const;

/** Says how a secret stands in bytes: an empty list means that it does not. */
export function findSecret(bytes: Buffer, secret: string, depth = 0): string[] {
  const found = encodings(secret).flatMap(([name, text]) => (bytes.includes(text) ? [name] : []));
  if (depth > 1) return found;
  for (const { name, magic, inflate } of magics) {
    for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1)) {
      try {
        const inner = inflate(bytes.subarray(at), { maxOutputLength: 64 * 1024 * 1024 });
        found.push(...findSecret(inner, secret, depth + 1).map((inside) => `${name} of ${inside}`));
      } catch {
        // Bytes that only look like the beginning of a compressed stream.
      }
    }
  }
  return found;
}

import { readFileSync } from 'node:fs';
import { Client, Pool, type ClientConfig, type PoolConfig } from 'pg';
import { parse, toClientConfig } from 'pg-connection-string';
import { ChaperoneError } from '#core/errors.ts';

/** Says how to log in to the store, whenever a connection is made. Never throws. */
export type StoreLogin = () => ClientConfig;

/** Opens a pool each of whose connections logs in as it is to at that time. */
export function openPool(login: StoreLogin, options: PoolConfig): Pool {
  class CurrentClient extends Client {
    constructor(given: ClientConfig = {}) {
      super({ ...login(), ...given });
    }
  }
  return new Pool({ ...options, Client: CurrentClient });
}

/**
 * Takes the login from a file with a URL, read again for each connection: whoever changes the password changes the file,
 * and connections that break are made with the new one. What cannot be read is not used, and what was there before is.
 * @throws ChaperoneError `config-invalid` where it cannot be read at first.
 */
export function loginFromFile(file: string): StoreLogin {
  let current: ClientConfig;
  try {
    current = parseUrl(readFileSync(file, 'utf8'));
  } catch (error) {
    // Neither the cause nor its message: they would quote the URL with its password.
    const why = error instanceof UrlMistake ? error.message : `cannot be read (${codeOf(error)})`;
    throw new ChaperoneError('config-invalid', `CHAPERONE_DATABASE_URL_FILE: ${file} ${why}`);
  }
  return () => {
    try {
      current = parseUrl(readFileSync(file, 'utf8'));
    } catch {
      // It may be read while it is being replaced; a login that is refused is logged where it is tried.
    }
    return current;
  };
}

/** What is wrong with a URL, in words of ours: never any of it. */
class UrlMistake extends Error {}

const sslModes = ['disable', 'require', 'verify-ca', 'verify-full'];

/**
 * Reads `postgres://user:password@host:port/database`, with the TLS that it asks for as libpq does it: `sslmode`,
 * `sslrootcert` and the other parameters that name files.
 */
function parseUrl(text: string): ClientConfig {
  const url = URL.parse(text.trim());
  if (url?.protocol !== 'postgres:' && url?.protocol !== 'postgresql:')
    throw new UrlMistake('holds no postgres:// URL');
  const mode = url.searchParams.get('sslmode');
  if (mode !== null && !sslModes.includes(mode))
    throw new UrlMistake(`has an sslmode that is none of ${sslModes.join(', ')}`);
  // "system" is no file: these are the authorities that Node trusts by itself (libpq, "sslrootcert").
  if (url.searchParams.get('sslrootcert') === 'system') {
    if (mode !== 'verify-full') throw new UrlMistake('wants sslmode=verify-full with sslrootcert=system'); // prettier-ignore
    url.searchParams.delete('sslrootcert');
  }
  if (mode === 'verify-ca' && !url.searchParams.has('sslrootcert'))
    throw new UrlMistake('wants an sslrootcert with sslmode=verify-ca');
  url.searchParams.delete('uselibpqcompat'); // it is said below
  return toClientConfig(parse(url.href, { useLibpqCompat: true }));
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'unknown';
}

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServerKeyPair } from '#core/control.ts';
import { ChaperoneError } from '#core/errors.ts';

/** A pair with the time at which its certificate expires, in milliseconds since 1970. */
export interface CheckedPair extends ServerKeyPair {
  readonly expiresMs: number;
}

/** @throws an error that may quote the key where certificate and key cannot be read, or do not fit. */
export function checkPair({ cert, key }: ServerKeyPair): CheckedPair {
  const certificate = new X509Certificate(cert);
  if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error('they do not fit');
  return { cert, key, expiresMs: Date.parse(certificate.validTo) };
}

/** A key pair in two files that somebody else replaces while the process runs. */
export class TlsFiles {
  readonly #certFile: string;
  readonly #keyFile: string;
  #current: CheckedPair;

  /** @throws ChaperoneError `config-invalid` where the files hold no pair that fits. */
  constructor(certFile: string, keyFile: string) {
    this.#certFile = certFile;
    this.#keyFile = keyFile;
    try {
      this.#current = this.#read();
    } catch (cause) {
      const message = `${certFile} and ${keyFile} do not hold a certificate and its key`;
      throw new ChaperoneError('config-invalid', message, { cause });
    }
  }

  get pair(): ServerKeyPair {
    const { cert, key } = this.#current;
    return { cert, key };
  }

  /** When the certificate expires, in milliseconds since 1970. */
  get expiresMs(): number {
    return this.#current.expiresMs;
  }

  /** Reads the files again. What does not fit stays unused: they may be read while they are being replaced. */
  reload(): 'changed' | 'same' | 'unusable' {
    try {
      const read = this.#read();
      if (read.cert === this.#current.cert && read.key === this.#current.key) return 'same';
      this.#current = read;
      return 'changed';
    } catch {
      return 'unusable'; // the caller says so; an error here could quote the key
    }
  }

  #read(): CheckedPair {
    return checkPair({
      cert: readFileSync(this.#certFile, 'utf8'),
      key: readFileSync(this.#keyFile, 'utf8'),
    });
  }
}

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { ChaperoneError } from '#core/errors.ts';

/**
 * Reads the key that acknowledgements and the ledger are signed with, an Ed25519 key as PKCS8 PEM; makes it at the first
 * start. Its public half lies beside it as `<file>.pub`, for those who verify.
 * @throws ChaperoneError `config-invalid`.
 */
export function loadCollectorKey(file: string): KeyObject {
  const invalid = (what: string, cause?: unknown): ChaperoneError =>
    new ChaperoneError('config-invalid', `CHAPERONE_COLLECTOR_KEY_FILE: ${file} ${what}`, {
      cause,
    });
  try {
    if (!existsSync(file)) {
      create(file, generateCollectorKey().privateKey, 0o600);
    }
    if ((statSync(file).mode & 0o007) !== 0) throw invalid('is open to everybody: want 0600');
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType !== 'ed25519') throw invalid('holds no Ed25519 key');
    const own = publicPem(createPublicKey(key));
    const beside = `${file}.pub`;
    if (!existsSync(beside)) create(beside, own, 0o644);
    if (readFileSync(beside, 'utf8').trim() !== own.trim())
      throw invalid('is not the private half of the key beside it');
    return key;
  } catch (error) {
    if (error instanceof ChaperoneError) throw error;
    throw invalid('cannot be used: want an Ed25519 key in PKCS8 PEM, or a path to make one', error);
  }
}

/** Makes a key as `loadCollectorKey` reads it: both halves in PEM, the private one as PKCS8. */
export function generateCollectorKey(): {
  readonly privateKey: string;
  readonly publicKey: string;
} {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicPem(publicKey),
  };
}

function publicPem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString();
}

/** Makes a file with its whole content at once; where another process was faster, what that one made stays. */
function create(file: string, text: string, mode: number): void {
  const draft = `${file}.${process.pid}.new`;
  const fd = openSync(draft, 'wx', mode);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
    linkSync(draft, file);
  } catch (error) {
    if (!existsSync(file)) throw error;
  } finally {
    closeSync(fd);
    rmSync(draft, { force: true });
  }
}

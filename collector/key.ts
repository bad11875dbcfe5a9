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

/** Makes a key that acknowledgements and the ledger can be signed with: Ed25519, as PKCS8 PEM. */
export function makeCollectorKey(): string {
  return generateKeyPairSync('ed25519')
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString();
}

/** The public half of a collector's key as PEM, for those who verify. */
export function publicHalf(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
}

/**
 * Reads the key that acknowledgements and the ledger are signed with. In a directory of ours it is made at the first
 * start, and its public half lies beside it as `<file>.pub`; one that was `given` is there, in a directory that cannot be
 * written.
 * @throws ChaperoneError `config-invalid`.
 */
export function loadCollectorKey(file: string, whose: 'own' | 'given' = 'own'): KeyObject {
  const invalid = (what: string, cause?: unknown): ChaperoneError =>
    new ChaperoneError('config-invalid', `CHAPERONE_COLLECTOR_KEY_FILE: ${file} ${what}`, {
      cause,
    });
  try {
    if (whose === 'own' && !existsSync(file)) create(file, makeCollectorKey(), 0o600);
    if ((statSync(file).mode & 0o007) !== 0) throw invalid('is open to everybody: want 0600');
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType !== 'ed25519') throw invalid('holds no Ed25519 key');
    if (whose === 'given') return key;
    const own = publicHalf(key);
    const beside = `${file}.pub`;
    if (!existsSync(beside)) create(beside, own, 0o644);
    if (readFileSync(beside, 'utf8').trim() !== own.trim())
      throw invalid('is not the private half of the key beside it');
    return key;
  } catch (error) {
    if (error instanceof ChaperoneError) throw error;
    const want = whose === 'own' ? ', or a path to make one' : '';
    throw invalid(`cannot be used: want an Ed25519 key in PKCS8 PEM${want}`, error);
  }
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

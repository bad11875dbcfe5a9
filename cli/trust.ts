import { createPublicKey, type KeyObject } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { ChaperoneError } from '#core/errors.ts';
import { checkLedger, LedgerClaims } from '#core/record/verify-ledger.ts';
import type { Trust } from '#core/record/verify-export.ts';
import { linesOf } from './collector-client.ts';
import type { Instance } from './instance.ts';

/** Reads a collector's public key. @throws ChaperoneError `config-invalid`. */
export function readKey(path: string): KeyObject {
  try {
    const key = createPublicKey(readFileSync(path));
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (cause) {
    throw new ChaperoneError('config-invalid', `${path} has no key that can be read`, { cause });
  }
  throw new ChaperoneError('config-invalid', `${path} has another key than Ed25519`);
}

/** A copy of the ledger as it is now: what is appended meanwhile is not looked at. One that is not there has no lines. */
export function ledgerLines(path: string): () => AsyncGenerator<string> {
  const size = sizeOf(path);
  return async function* () {
    if (size > 0) yield* linesOf(createReadStream(path, { end: size - 1 }));
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Reads and checks a copy of the ledger. @throws ChaperoneError `record-invalid` with the line that does not fit. */
async function readLedgerCopy(path: string, keys: readonly KeyObject[]): Promise<LedgerClaims> {
  const claims = new LedgerClaims();
  const onClaim = claims.add.bind(claims);
  const verdict = await checkLedger(ledgerLines(path)(), { keys, of: 'copy', onClaim });
  if (verdict.kind === 'whole') return claims;
  throw new ChaperoneError(
    'record-invalid',
    `the copy of the ledger in ${path} is broken at line ${verdict.at}: ${verdict.why}`,
  );
}

/** Keys and copy of the ledger that were given. */
export interface GivenTrust {
  readonly keys: Trust['keys'];
  readonly ledgerFile: string | undefined;
}

/** What is trusted of an instance where nothing else was said. */
export function ofInstance({ collector }: Instance, { keys, ledgerFile }: GivenTrust): GivenTrust {
  return {
    keys: keys.length > 0 ? keys : [readKey(collector.publicKeyFile)],
    ledgerFile: ledgerFile ?? (existsSync(collector.ledgerFile) ? collector.ledgerFile : undefined),
  };
}

/** @throws ChaperoneError `record-invalid` when the copy of the ledger is broken. */
export async function trustOf({ keys, ledgerFile }: GivenTrust): Promise<Trust> {
  if (ledgerFile === undefined) return { keys };
  if (!existsSync(ledgerFile))
    throw new ChaperoneError('config-invalid', `${ledgerFile} is not there`);
  return { keys, ledger: await readLedgerCopy(ledgerFile, keys) };
}

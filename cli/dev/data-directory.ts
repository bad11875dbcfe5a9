import { accessSync, constants, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';

const readTokenFile = (data: string): string => join(data, 'read-token');
const operatorTokenFile = (data: string): string => join(data, 'operator-token');

/** What lies in the data directory for people and their tools. */
export const evidenceFiles = (
  data: string,
): Readonly<
  Record<'readTokenFile' | 'operatorTokenFile' | 'publicKeyFile' | 'ledgerFile', string>
> => ({
  readTokenFile: readTokenFile(data),
  operatorTokenFile: operatorTokenFile(data),
  publicKeyFile: `${collectorKeyFile(data)}.pub`,
  ledgerFile: join(data, 'ledger.log'),
});

/** Where the collector keeps the key that it signs with. */
export const collectorKeyFile = (data: string): string => join(data, 'collector.key');

/** Makes the directories of logs and spool. @throws ChaperoneError `config-invalid`. */
export function createDirectories(data: string): void {
  try {
    accessSync(data, constants.W_OK);
    mkdirSync(join(data, 'log'), { recursive: true, mode: 0o700 });
    mkdirSync(join(data, 'spool'), { recursive: true, mode: 0o700 });
  } catch (cause) {
    const message = `cannot write to ${data}: make it writable, or name another directory with --data`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
}

/** Leaves the tokens of people where this account alone can read them. */
export function writeTokens(
  data: string,
  tokens: { readonly readToken: string; readonly operatorToken: string },
): void {
  writeFileSync(readTokenFile(data), tokens.readToken, { mode: 0o600 });
  writeFileSync(operatorTokenFile(data), tokens.operatorToken, { mode: 0o600 });
}

export function removeTokens(data: string): void {
  for (const file of [readTokenFile(data), operatorTokenFile(data)]) rmSync(file, { force: true });
}

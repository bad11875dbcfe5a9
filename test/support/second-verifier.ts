import type { KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';
import { python } from '../drivers/python.ts';

/** What the verifier in Python is given beside the files. */
export interface SecondTrust {
  readonly keys?: readonly KeyObject[];
  /** Lines of a copy of the ledger. */
  readonly ledger?: readonly string[] | undefined;
}

const program = join(projectDirectory, 'test/verifier/verify_export.py');

/** Has exports verified by the program in Python. Returns what it says of each, such as `broken 7`. */
export async function secondOpinions(
  exports: readonly Buffer[],
  trust: SecondTrust,
): Promise<string[]> {
  return run(exports, trust, []);
}

/** Has ledgers checked by the program in Python, against a copy. */
export async function secondOpinionOnLedger(
  lines: readonly string[],
  trust: SecondTrust,
): Promise<string> {
  const [opinion = ''] = await run([Buffer.from(textOf(lines))], trust, ['--check-ledger']);
  return opinion;
}

async function run(
  files: readonly Buffer[],
  { keys = [], ledger }: SecondTrust,
  options: readonly string[],
): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-verifier-'));
  const put = (name: string, bytes: Buffer | string): string => {
    writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  try {
    const trust = keys.flatMap((key, index) => [
      '--trust',
      put(`key${index}`, key.export({ type: 'spki', format: 'pem' })),
    ]);
    const copy = ledger ? ['--ledger', put('ledger', textOf(ledger))] : [];
    const paths = files.map((bytes, index) => put(`file${index}`, bytes));
    const output = await python([program, ...trust, ...copy, ...options, ...paths]);
    // The verdict without the number of erased payloads.
    return output
      .trimEnd()
      .split('\n')
      .map((line) => (options.length > 0 ? line : line.replace(/ \d+$/, '')));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

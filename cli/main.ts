#!/usr/bin/env node
import { ChaperoneError } from '#core/errors.ts';
import { UsageError, type Command } from './command.ts';
import { baseline } from './baseline.ts';
import { collectorKey } from './collector-key.ts';
import { dev } from './dev.ts';
import { erase } from './erase.ts';
import { sentenceOf } from './error-sentence.ts';
import { explain } from './explain.ts';
import { findings } from './findings.ts';
import { hold } from './hold.ts';
import { replay } from './replay.ts';
import { sessions } from './sessions.ts';
import { sql } from './sql.ts';
import { suggest } from './suggest.ts';
import { token } from './token.ts';
import { trialDatabase } from './trial-database.ts';
import { uninstallWebhooks } from './uninstall-webhooks.ts';
import { verify } from './verify.ts';

const commands: readonly Command[] = [
  dev,
  sessions,
  explain,
  replay,
  suggest,
  verify,
  findings,
  erase,
  hold,
  sql,
  token,
  collectorKey,
  baseline,
  trialDatabase,
  uninstallWebhooks,
];

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === 'help') {
    process.stdout.write(overview());
    return name === undefined ? 2 : 0;
  }
  const command = commands.find((candidate) => candidate.name === name);
  if (!command)
    throw new UsageError(`there is no command "${name}"; "chaperone --help" lists them`);
  if (rest.includes('--help')) {
    process.stdout.write(`${command.usage}\n`);
    return 0;
  }
  process.stdout.on('error', () => {
    if (!command.outlivesOutput) process.exit(0); // the reader of a pipe, such as `head`, has seen enough
  });
  return command.run(rest);
}

function overview(): string {
  const ofPeople = commands.filter(({ forChart }) => forChart !== true);
  const lines = ofPeople.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`);
  return `usage: chaperone COMMAND [OPTIONS]\n\n${lines.join('\n')}\n\n"chaperone COMMAND --help" says more.\n`;
}

/** Says what is wrong in a sentence; a stack trace is for defects alone. */
function report(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`chaperone: ${error.message}\n`);
    return 2;
  }
  const known = error instanceof ChaperoneError;
  const text = known
    ? sentenceOf(error)
    : error instanceof Error
      ? (error.stack ?? error.message)
      : 'unknown error';
  process.stderr.write(`chaperone: ${text}\n`);
  return 1;
}

// Not awaited: a CommonJS bundle, which an image holds, cannot.
void main(process.argv.slice(2))
  .catch(report)
  .then((code) => {
    process.exitCode = code;
  });

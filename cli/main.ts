#!/usr/bin/env node
import type { Command } from './command.ts';
import { baseline } from './baseline.ts';
import { collectorKey } from './collector-key.ts';
import { dev } from './dev.ts';
import { erase } from './erase.ts';
import { explain } from './explain.ts';
import { findings } from './findings.ts';
import { hold } from './hold.ts';
import { runProgram } from './program.ts';
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

runProgram({ name: 'chaperone', commands }, process.argv.slice(2));

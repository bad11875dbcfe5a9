import { parentPort, type MessagePort } from 'node:worker_threads';
import { loadModule, parseSync, SqlError } from 'libpg-query';
import { surveyTree } from '#core/postgres/sql/survey-tree.ts';
import { compileOnce, watchGrowth } from '../../../runtime/parser-worker.ts';
import { unreadable, type FromGrammar, type Reading } from './reading.ts';

/** Of a survey as JSON: all of it is parsed on the main thread at once. */
const maxJsonLength = 1024 * 1024;

/** WebAssembly is compiled as it is first run: without these the first texts would pass for slow ones. */
const warming = [
  'select a, count(*) from s.t as x join u using (b) where c = $1 and d in (1, 2) group by 1 limit 3',
  "insert into t (a, b) values ($1, 'x') on conflict do nothing returning *",
  'with w as (update t set a = 1 where b returning c) delete from t using w where t.c = w.c',
];

/** Reads texts with PostgreSQL's own grammar, which hostile ones can kill: therefore in a thread of its own. */
function serve(port: MessagePort): void {
  for (const text of warming) parseSync(text);
  const isSpent = watchGrowth();
  port.on('message', (text: string) => {
    const began = performance.now();
    const { json, broken } = read(text);
    const grown = isSpent();
    const tookMs = performance.now() - began;
    say(port, { type: 'read', json, tookMs, spent: broken || grown });
  });
  say(port, { type: 'ready' });
}

function read(text: string): { readonly json: string; readonly broken: boolean } {
  let tree: unknown;
  try {
    tree = parseSync(text === '' ? ' ' : text); // the module takes an empty text for a mistake of its caller's
  } catch (error) {
    if (error instanceof SqlError) return { json: JSON.stringify(refused(error)), broken: false };
    return failed(error instanceof RangeError ? 'too deep' : 'killed the parser');
  }
  try {
    const json = JSON.stringify({ kind: 'survey', survey: surveyTree(tree) } satisfies Reading);
    if (json.length <= maxJsonLength) return { json, broken: false };
    return { json: JSON.stringify(unreadable('too much in it')), broken: false };
  } catch (error) {
    return failed(error instanceof RangeError ? 'too deep' : 'not understood');
  }
}

function failed(because: 'too deep' | 'killed the parser' | 'not understood'): {
  readonly json: string;
  readonly broken: boolean;
} {
  return { json: JSON.stringify(unreadable(because)), broken: true };
}

/** PostgreSQL's limits are not the module's: what is too deep for one may be right for the other. */
function refused({ message, sqlDetails }: SqlError): Reading {
  if (/^(memory exhausted|stack depth limit exceeded|out of memory)/.test(message)) {
    return unreadable('too deep');
  }
  const position = (sqlDetails?.cursorPosition ?? 0) + 1;
  return { kind: 'syntax-error', message, position, sqlState: '42601' };
}

function say(port: MessagePort, message: FromGrammar): void {
  port.postMessage(message);
}

const port = parentPort;
compileOnce();
if (port) void loadModule().then(() => serve(port)); // what it throws ends the thread, which the other side sees

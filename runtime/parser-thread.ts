import { Worker } from 'node:worker_threads';

// The tree of a text of 256 KiB takes 35 MB. The parser's own memory is not counted in these.
const resourceLimits = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 8, stackSizeMb: 4 };

/** Loading takes 40 ms; a machine that has nothing left to give may take long. */
export const parserStartMs = 10_000;

/** Starts a thread in which PostgreSQL's grammar reads texts, some of which it does not survive. */
export function startParserThread(file: string, name: string): Worker {
  const worker = new Worker(file, {
    env: {},
    execArgv: [],
    stdout: true, // or what the parser prints as it dies is in the log
    stderr: true,
    resourceLimits,
    name,
  });
  worker.stdout.resume();
  worker.stderr.resume();
  return worker;
}

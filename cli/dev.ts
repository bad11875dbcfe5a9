import { mkdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { supervise } from './dev/supervisor.ts';

const usage = `usage: chaperone dev --config DIR --data DIR [--port N] [--no-demo] [--ready-file FILE]

Runs everything on this machine: a PostgreSQL with demo data, the sidecar in front of it, the collector and its store.

  --config DIR       resources (*.yaml), watched: a change counts from the next operation on
  --data DIR         databases, spool and logs; made if it does not exist
  --port N           the first backend's port (default 15432, further ones take the next); the collector takes N + 48.
                     0 takes free ports
  --no-demo          without the demo agent and its story
  --ready-file FILE  written when everything is ready: addresses and process ids as JSON

Ctrl-C stops it; what the agents did stays recorded.`;

/** `chaperone dev`. */
export const dev: Command = {
  name: 'dev',
  summary: 'runs everything on this machine, with a demo',
  usage,
  outlivesOutput: true, // a terminal that is closed sends a signal; that is what stops it
  async run(args) {
    const { values } = readArguments({
      args: [...args],
      options: {
        config: { type: 'string' },
        data: { type: 'string' },
        port: { type: 'string', default: '15432' },
        'no-demo': { type: 'boolean', default: false },
        'ready-file': { type: 'string' },
      },
    });
    const { config, data, port } = values;
    if (config === undefined || data === undefined)
      throw new UsageError('dev needs --config and --data');
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65_000) {
      throw new UsageError(`--port: got "${port}", want 0 to 65000`);
    }
    if (statSync(config, { throwIfNoEntry: false })?.isDirectory() !== true) {
      throw new ChaperoneError('config-invalid', `--config: ${config} is not a directory`);
    }
    return supervise({
      config: resolve(config),
      data: createData(resolve(data)),
      port: Number(port),
      demo: !values['no-demo'],
      readyFile: values['ready-file'],
    });
  },
};

function createData(data: string): string {
  try {
    // Root's servers run under another account, which has to pass through.
    mkdirSync(data, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 });
    return data;
  } catch (cause) {
    throw new ChaperoneError(
      'config-invalid',
      `cannot create ${data}: name a directory that can be written with --data`,
      { cause },
    );
  }
}

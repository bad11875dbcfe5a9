import { mkdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { readEnvironment } from './dev/config.ts';
import {
  findPassword,
  ownSecretName,
  parseBackendUrl,
  writeOwnResources,
} from './dev/own-backend.ts';
import { createSecrets, supervise } from './dev/supervisor.ts';

const usage = `usage: chaperone dev --config DIR --data DIR [--port N] [--no-demo] [--ready-file FILE]

Runs everything on this machine: a PostgreSQL with demo data, the sidecar in front of it, the collector and its store.

  --config DIR       resources (*.yaml), watched: a change counts from the next operation on
  --data DIR         databases, spool and logs; made if it does not exist
  --port N           the first backend's port (default 15432, further ones take the next); the collector takes N + 48.
                     0 takes free ports
  --no-demo          without the demo agent and its story
  --ready-file FILE  written when everything is ready: addresses and process ids as JSON

CHAPERONE_BACKEND_URL=postgres://USER@HOST:PORT/DATABASE in the environment puts a database of your own in place of the
demo's. Its password is asked for, or read from ~/.pgpass. sslmode is disable, require, verify-ca or verify-full, which is
the default beyond this machine; sslrootcert names a file.

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
    const options = {
      config: resolve(config),
      data: createData(resolve(data)),
      port: Number(port),
      readyFile: values['ready-file'],
    };
    const env = readEnvironment();
    const url = env['CHAPERONE_BACKEND_URL'];
    if (url === undefined) return supervise({ ...options, demo: !values['no-demo'] });
    const backend = parseBackendUrl(url);
    const password = await findPassword(backend, env);
    const own = { ...options, config: writeOwnResources(backend, options.config, options.data) };
    const credentials = {
      [ownSecretName]: { type: 'Password', username: backend.user, password } as const,
    };
    return supervise({ ...own, demo: false, backend }, { ...createSecrets(), credentials });
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

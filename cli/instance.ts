import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';

/** Where agents reach a backend, and as whom and in which database they may log in where that is no matter of course. */
export interface InstanceBackend {
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly database?: string;
}

/** What a running `chaperone dev` says of itself; the content of its ready file. */
export interface Instance {
  readonly backends: Readonly<Record<string, InstanceBackend>>;
  readonly collector: {
    readonly url: string;
    readonly caFile: string;
    readonly readTokenFile: string;
    readonly operatorTokenFile: string;
    /** Verifies acknowledgements and the ledger. */
    readonly publicKeyFile: string;
    /** The ledger's copy outside the store. */
    readonly ledgerFile: string;
    readonly metricsUrl: string;
  };
  readonly sidecar: {
    readonly caFile: string;
    readonly spoolDir: string;
    readonly metricsUrl: string;
    /** Unix socket that takes an operator's commands. */
    readonly adminSocket: string;
  };
  /** Who knows the URL gets any token: it is in files that only this account may read. */
  readonly issuer: { readonly tokenUrl: string };
  readonly pids: {
    readonly supervisor: number;
    readonly sidecar: number;
    readonly collector: number;
    readonly store: number;
    /** Of the demo's own. */
    readonly backend?: number;
  };
}

/** The folder of the project: `npm start` and `npx chaperone` mean the same data wherever they are typed. */
export const projectDirectory = dirname(import.meta.dirname);
const defaultDataDirectory = join(projectDirectory, '.chaperone');
export const instanceFile = (data: string): string => join(data, 'ready.json');

const maxSocketPathBytes = 103; // of macOS; Linux takes 107

/** Where the sidecar takes an operator's commands: with the data, unless the name would be too long for a socket. */
export function adminSocketPath(data: string, shortDirectory: string): string {
  const path = join(data, 'sidecar.sock');
  return Buffer.byteLength(path) <= maxSocketPathBytes
    ? path
    : join(shortDirectory, 'sidecar.sock');
}

/** Finds the instance that runs on a data directory. @throws ChaperoneError `config-invalid` when none does. */
export function findInstance(data: string | undefined): Instance {
  const directory = data === undefined ? defaultDataDirectory : resolve(data);
  const file = instanceFile(directory);
  if (!existsSync(file)) throw notRunning(directory);
  let instance: Instance;
  try {
    instance = JSON.parse(readFileSync(file, 'utf8')) as Instance; // written by the supervisor
  } catch (cause) {
    throw notRunning(directory, cause);
  }
  if (!isAlive(instance.pids.supervisor)) throw notRunning(directory);
  return instance;
}

/** Finds the instance, if one runs. */
export function tryFindInstance(data: string | undefined): Instance | undefined {
  try {
    return findInstance(data);
  } catch (error) {
    if (error instanceof ChaperoneError) return undefined;
    throw error;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function notRunning(directory: string, cause?: unknown): ChaperoneError {
  const message = `nothing runs on ${directory}: start it with "npm start", or name its directory with --data`;
  return new ChaperoneError('config-invalid', message, { cause });
}

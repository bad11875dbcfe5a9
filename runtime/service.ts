import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import { openControlPipe, withoutSupervisor, type ControlPipe } from './control-pipe.ts';
import { createLog } from './log.ts';
import type { Environment } from './settings.ts';
import { version } from './version.ts';

/** What every report of a service has room for: a start that failed. */
interface Failure {
  readonly type: 'failed';
  readonly message: string;
}

export interface Service<Config, Secrets, Report> {
  readonly name: string;
  /** @throws ChaperoneError `config-invalid`. */
  readonly readConfig: (env: Environment) => Config;
  /** What is secret where no supervisor starts it, but a pod does; undefined: it comes over the control pipe. */
  readonly readSecrets?: (config: Config) => Secrets | undefined;
  /** Starts the parts, waits until it is asked to stop, and stops them. */
  readonly run: (
    config: Config,
    control: ControlPipe<Secrets, Report>,
    log: Logger,
  ) => Promise<void>;
}

/**
 * Runs a service as this process, and ends the process with it. What goes wrong is said to the supervisor as well. With
 * the argument `--version` it says what it is, and no more.
 */
export async function runService<
  Config extends { logLevel: string },
  Secrets extends { type: 'secrets' },
  Report,
>(
  { name, readConfig, readSecrets, run }: Service<Config, Secrets, Report | Failure>,
  env: Environment,
): Promise<never> {
  const runControlled = async (config: Config, log: Logger): Promise<void> => {
    const secrets = readSecrets?.(config);
    const control = secrets
      ? withoutSupervisor<Secrets, Report | Failure>(secrets)
      : await openControlPipe<Secrets, Report | Failure>();
    await run(config, control, log).catch((error: unknown) => {
      control.report({
        type: 'failed',
        message: error instanceof Error ? error.message : 'unknown',
      });
      throw error;
    });
    control.close();
  };
  return runInPod({ name, readConfig, run: runControlled }, env);
}

/** A service that only a pod starts. */
export interface PodService<Config> extends Pick<
  Service<Config, never, never>,
  'name' | 'readConfig'
> {
  /** Starts the parts, waits until it is asked to stop, and stops them. */
  readonly run: (config: Config, log: Logger) => Promise<void>;
}

/** The same for a service that no supervisor ever starts. */
export async function runInPod<Config extends { logLevel: string }>(
  { name, readConfig, run }: PodService<Config>,
  env: Environment,
): Promise<never> {
  if (process.argv[2] === '--version') {
    process.stdout.write(`chaperone ${name} ${version}\n`);
    process.exit(0);
  }
  try {
    const config = readConfig(env);
    await run(config, createLog(name, config.logLevel));
    process.exit(0);
  } catch (error) {
    const known = error instanceof ChaperoneError;
    const text = known ? error.message : error instanceof Error ? error.stack : 'unknown';
    process.stderr.write(`chaperone ${name}: ${text}\n`);
    process.exit(1);
  }
}

import { parseArgs, type ParseArgsConfig } from 'node:util';

/** One command of the command line. */
export interface Command {
  readonly name: string;
  /** One line for the overview. */
  readonly summary: string;
  readonly usage: string;
  /** Whether it goes on when nobody reads its output any more. */
  readonly outlivesOutput?: true;
  /** Whether the chart runs it rather than people: the overview leaves it out. */
  readonly forChart?: true;
  /** Returns the exit code. @throws UsageError, ChaperoneError. */
  run(args: readonly string[]): Promise<number>;
}

/** A command that was typed wrongly: a sentence, and exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Parses arguments strictly. @throws UsageError for what the command does not know. */
export function readArguments<const T extends ParseArgsConfig>(
  config: T,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (cause) {
    const message = cause instanceof Error ? (cause.message.split('. ')[0] ?? '') : '';
    throw new UsageError(message.charAt(0).toLowerCase() + message.slice(1), { cause });
  }
}

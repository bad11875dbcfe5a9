import { ChaperoneError } from '#core/errors.ts';
import { UsageError, type Command } from './command.ts';
import { sentenceOf } from './error-sentence.ts';

/** A program of several commands. */
export interface Program {
  /** As people type it. */
  readonly name: string;
  readonly commands: readonly Command[];
}

/** Runs the command that the arguments name, says what is wrong in a sentence, and sets the exit code of the process. */
export function runProgram(program: Program, args: readonly string[]): void {
  // Not awaited: a CommonJS bundle, which an image holds, cannot.
  void run(program, args)
    .catch(report)
    .then((code) => {
      process.exitCode = code;
    });
}

async function run(program: Program, args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === 'help') {
    process.stdout.write(overview(program));
    return name === undefined ? 2 : 0;
  }
  const command = program.commands.find((candidate) => candidate.name === name);
  if (!command)
    throw new UsageError(`there is no command "${name}"; "${program.name} --help" lists them`);
  if (rest.includes('--help')) {
    process.stdout.write(`${command.usage}\n`);
    return 0;
  }
  process.stdout.on('error', () => {
    if (!command.outlivesOutput) process.exit(0); // the reader of a pipe, such as `head`, has seen enough
  });
  return command.run(rest);
}

function overview({ name, commands }: Program): string {
  const ofPeople = commands.filter(({ forChart }) => forChart !== true);
  const lines = ofPeople.map((command) => `  ${command.name.padEnd(10)} ${command.summary}`);
  return `usage: ${name} COMMAND [OPTIONS]\n\n${lines.join('\n')}\n\n"${name} COMMAND --help" says more.\n`;
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

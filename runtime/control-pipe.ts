import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { controlFd } from '#core/control.ts';
import { ChaperoneError } from '#core/errors.ts';

/** The pipe to the supervisor: secrets come down, reports go up, and its end means stop. */
export interface ControlPipe<Secrets, Report> {
  readonly secrets: Secrets;
  report(report: Report): void;
  /** Settles when the supervisor is gone. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Opens the pipe and waits for the secrets. @throws ChaperoneError `config-invalid` when none come. */
export async function openControlPipe<Secrets extends { type: 'secrets' }, Report>(): Promise<
  ControlPipe<Secrets, Report>
> {
  const socket = openSocket();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  socket.on('close', () => resolve());
  socket.on('error', () => socket.destroy()); // 'close' follows, which says the same
  const line = await new Promise<string>((done, fail) => {
    const lines = createInterface({ input: socket });
    lines.once('line', done);
    lines.once('close', () =>
      fail(new ChaperoneError('config-invalid', 'the control pipe closed early')),
    );
  });
  return {
    secrets: parseSecrets<Secrets>(line),
    report: (report) => {
      if (socket.writable) socket.write(`${JSON.stringify(report)}\n`);
    },
    closed,
    close: () => socket.end(),
  };
}

/** Stands in for the pipe in a pod: nobody takes reports there, and only a signal stops what runs. */
export function withoutSupervisor<Secrets, Report>(secrets: Secrets): ControlPipe<Secrets, Report> {
  return {
    secrets,
    report: () => undefined,
    closed: new Promise(() => undefined),
    close: () => undefined,
  };
}

function openSocket(): Socket {
  try {
    return new Socket({ fd: controlFd, readable: true, writable: true });
  } catch (cause) {
    const message = `file descriptor ${controlFd} is not a pipe to a supervisor: start this with "chaperone dev"`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
}

// The supervisor is the same release and trusted with the secrets themselves; a bad line is a broken start.
function parseSecrets<Secrets extends { type: 'secrets' }>(line: string): Secrets {
  try {
    const value = JSON.parse(line) as Secrets; // checked for its tag below
    if (value.type === 'secrets') return value;
  } catch {
    // The parser's message would quote the line, which holds secrets.
  }
  throw new ChaperoneError('config-invalid', 'the control pipe did not begin with the secrets');
}

/** Nobody waits for an orphan, and whoever starts next finds its ports taken: it has this long to end. */
const orphanMs = 2_000;

/**
 * Settles on SIGTERM and when the supervisor is gone; then says whether it is. Ctrl-C in a terminal is the supervisor's
 * business.
 */
export async function stopRequest(control: {
  readonly closed: Promise<void>;
}): Promise<'asked' | 'orphaned'> {
  process.on('SIGINT', () => undefined);
  const { promise, resolve } = Promise.withResolvers<'asked'>();
  process.once('SIGTERM', () => resolve('asked'));
  const why = await Promise.race([promise, control.closed.then(() => 'orphaned' as const)]);
  if (why === 'orphaned') setTimeout(() => process.exit(1), orphanMs).unref();
  return why;
}

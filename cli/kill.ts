import { once } from 'node:events';
import { connect } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import type { Instance } from './instance.ts';
import { printable } from './terminal.ts';

const timeoutMs = 10_000;

/** Ends a session that is open. Returns the exit code. @throws ChaperoneError `config-invalid`. */
export async function killSession(instance: Instance, id: string): Promise<number> {
  const answer = await ask(instance.sidecar.adminSocket, { command: 'kill', session: id });
  if (answer['killed'] === true) {
    process.stdout.write(`session ${printable(id)} is being ended; a running statement has 5 s\n`);
    return 0;
  }
  process.stderr.write(
    `chaperone: there is no open session ${printable(id)}: "chaperone sessions" lists them with their whole ids\n`,
  );
  return 1;
}

async function ask(path: string, request: object): Promise<Readonly<Record<string, unknown>>> {
  const socket = connect(path).setEncoding('utf8');
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')));
  let text = '';
  socket.on('data', (chunk: string) => (text += chunk));
  socket.end(`${JSON.stringify(request)}\n`);
  try {
    await once(socket, 'close');
    return { ...(JSON.parse(text) as object) }; // the sidecar is this release
  } catch (cause) {
    throw new ChaperoneError('config-invalid', 'the sidecar does not answer: is it running?', {
      cause,
    });
  }
}

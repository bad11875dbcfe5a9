import { once } from 'node:events';
import { connect } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import { UsageError } from './command.ts';
import type { Instance } from './instance.ts';

const timeoutMs = 10_000;

/** Ends a session that is open. Returns the exit code. @throws ChaperoneError `config-invalid`, UsageError. */
export async function killSession(instance: Instance, id: string): Promise<number> {
  if (!/^[0-9a-f]{6}[0-9a-f-]{0,30}$/.test(id))
    throw new UsageError(`got "${id}", want the id of a session, or at least its first 6 digits`);
  const found = await ask(instance.sidecar.adminSocket, { command: 'kill', session: id });
  const [session, another] = found;
  if (session !== undefined && another === undefined) {
    process.stdout.write(`session ${session} is being ended; what it runs is cancelled\n`);
    return 0;
  }
  const why =
    session === undefined
      ? `no open session has an id that begins with ${id}: "chaperone sessions" lists them`
      : `more than one open session has an id that begins so, and none was ended: ${found.join(', ')}`;
  process.stderr.write(`chaperone: ${why}\n`);
  return 1;
}

/** Asks the sidecar, which is of this release. Returns the ids of the sessions that were meant. */
async function ask(path: string, request: object): Promise<readonly string[]> {
  const socket = connect(path).setEncoding('utf8');
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')));
  let text = '';
  socket.on('data', (chunk: string) => (text += chunk));
  socket.end(`${JSON.stringify(request)}\n`);
  try {
    await once(socket, 'close');
    return (JSON.parse(text) as { sessions: string[] }).sessions;
  } catch (cause) {
    throw new ChaperoneError('config-invalid', 'the sidecar does not answer: is it running?', {
      cause,
    });
  }
}

import { UsageError } from './command.ts';
import type { Instance } from './instance.ts';
import { SidecarClient } from './sidecar-client.ts';

/** Ends a session that is open. Returns the exit code. @throws ChaperoneError `config-invalid`, UsageError. */
export async function killSession(instance: Instance, id: string): Promise<number> {
  if (!/^[0-9a-f]{6}[0-9a-f-]{0,30}$/.test(id))
    throw new UsageError(`got "${id}", want the id of a session, or at least its first 6 digits`);
  const found = await new SidecarClient(instance.sidecar.adminSocket).kill(id);
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

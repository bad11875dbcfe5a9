import { isSessionPrefix } from '#core/bundle-message.ts';
import { readArguments, UsageError, type Command } from '../command.ts';
import { Installation, installationOptions, installationUsage } from '../cluster/installation.ts';

import { askServer, textOf } from '../server-access.ts';

const timeoutMs = 30_000;

const usage = `usage: kubectl chaperone kill ID [OPTIONS]

Ends the session with this id, or all whose ids begin with it, wherever they are open; what they run is cancelled. The
controller asks whether you may delete sessions.chaperone.dev.

${installationUsage}`;

/** `kubectl chaperone kill`. */
export const clusterKill: Command = {
  name: 'kill',
  summary: 'ends a session that is open',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: installationOptions,
    });
    const [session = '', ...more] = positionals;
    if (!isSessionPrefix(session) || more.length > 0)
      throw new UsageError(`got "${positionals.join(' ')}", want the id of a session, or its first 13 characters or more`); // prettier-ignore
    const { access, token } = await (await Installation.open(values)).controller();
    const asked = {
      method: 'POST',
      path: '/v1/kill',
      token,
      body: { session },
      timeoutMs,
    } as const;
    await textOf(await askServer(access, asked));
    process.stdout.write(
      `all sidecars are told to end ${session}; "kubectl chaperone sessions" shows what has ended\n`,
    );
    return 0;
  },
};

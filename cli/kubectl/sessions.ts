import { CollectorClient } from '../collector-client.ts';
import { readArguments, UsageError, type Command } from '../command.ts';
import { Installation, installationOptions, installationUsage } from '../cluster/installation.ts';
import { listOptions, listSessions, listUsage } from '../sessions.ts';

const usage = `usage: kubectl chaperone sessions [--who USER] [--backend NAME] [--since WHEN] [--text PART] [--limit N] [--json]
                                  [OPTIONS]

Lists recorded sessions of a cluster, newest first.

${listUsage}
${installationUsage}`;

/** `kubectl chaperone sessions`. */
export const clusterSessions: Command = {
  name: 'sessions',
  summary: 'lists recorded sessions',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: { ...listOptions, ...installationOptions },
    });
    const [first, id] = positionals;
    if (first === 'show' || first === 'kill')
      throw new UsageError(`it is "kubectl chaperone ${first} ${id ?? 'ID'}"`);
    if (first !== undefined) throw new UsageError(usage);
    const client = async (): Promise<CollectorClient> =>
      new CollectorClient(await (await Installation.open(values)).collector());
    return listSessions(client, values);
  },
};

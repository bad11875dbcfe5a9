import { CollectorClient } from '../collector-client.ts';
import { readArguments, UsageError, type Command } from '../command.ts';
import { Installation, installationOptions, installationUsage } from '../cluster/installation.ts';
import { printExpectations, printSession } from '../show.ts';

const usage = `usage: kubectl chaperone show ID [--json | --as-expectation] [OPTIONS]

Shows what happened in a recorded session of a cluster.

  --json          as JSON
  --as-expectation
                  its requests with what they got, for "chaperone replay --expect"
${installationUsage}`;

/** `kubectl chaperone show`. */
export const clusterShow: Command = {
  name: 'show',
  summary: 'shows what happened in a session',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        'as-expectation': { type: 'boolean', default: false },
        ...installationOptions,
      },
    });
    const [id, ...more] = positionals;
    if (id === undefined || more.length > 0) throw new UsageError('show needs the id of a session');
    const client = new CollectorClient(await (await Installation.open(values)).collector());
    return values['as-expectation']
      ? printExpectations(client, id)
      : printSession(client, id, values.json);
  },
};

import { makeCollectorKey } from '../collector/key.ts';
import { createSecretOnce } from './cluster/secrets.ts';
import { readArguments, type Command } from './command.ts';
import { namespaceOption } from './cluster/namespace-option.ts';

const name = 'chaperone-collector-key';

const usage = `usage: chaperone collector-key --namespace NAMESPACE

Makes the key that collectors of a cluster sign evidence with, as Secret ${name}, unless it is there. The chart runs it.`;

/** `chaperone collector-key`. */
export const collectorKey: Command = {
  name: 'collector-key',
  summary: 'makes the key of the collectors of a cluster',
  usage,
  forChart: true,
  async run(args) {
    const { values } = readArguments({
      args: [...args],
      options: { namespace: { type: 'string' } },
    });
    const namespace = namespaceOption(values.namespace);
    const content = (): Readonly<Record<string, string>> => ({ 'key.pem': makeCollectorKey() });
    const isNew = await createSecretOnce({ namespace, name, content });
    process.stdout.write(`Secret ${namespace}/${name} ${isNew ? 'was made' : 'is there'}\n`);
    return 0;
  },
};

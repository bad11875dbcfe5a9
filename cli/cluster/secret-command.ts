import { readArguments, type Command } from '../command.ts';
import { namespaceOption } from './namespace-option.ts';
import { createSecretOnce } from './secrets.ts';

/** A command of the chart's that makes one Secret, unless it is there. */
export interface SecretCommand {
  readonly name: string;
  readonly summary: string;
  /** What is made, and as which Secret; the rest of the usage is added. */
  readonly what: string;
  readonly secret: string;
  /** What it says, by key, in a namespace. */
  readonly content: (namespace: string) => Readonly<Record<string, string>>;
}

/** Makes the command. */
export function secretCommand({ name, summary, what, secret, content }: SecretCommand): Command {
  return {
    name,
    summary,
    usage: `usage: chaperone ${name} --namespace NAMESPACE\n\nMakes ${what}, as Secret ${secret}, unless it is there. The chart runs it.`,
    forChart: true,
    async run(args) {
      const { values } = readArguments({
        args: [...args],
        options: { namespace: { type: 'string' } },
      });
      const namespace = namespaceOption(values.namespace);
      const asked = { namespace, name: secret, content: () => content(namespace) };
      const isNew = await createSecretOnce(asked);
      process.stdout.write(`Secret ${namespace}/${secret} ${isNew ? 'was made' : 'is there'}\n`);
      return 0;
    },
  };
}

import { randomBytes } from 'node:crypto';
import { createSecretOnce } from './cluster/secrets.ts';
import { namespaceOption } from './cluster/namespace-option.ts';
import { readArguments, type Command } from './command.ts';

const name = 'chaperone-database';

const usage = `usage: chaperone trial-database --namespace NAMESPACE

Makes the password of the chart's own PostgreSQL, as Secret ${name}, unless it is there. The chart runs it.`;

/** `chaperone trial-database`. */
export const trialDatabase: Command = {
  name: 'trial-database',
  summary: 'makes the password of the database that is there to try things out',
  usage,
  forChart: true,
  async run(args) {
    const { values } = readArguments({
      args: [...args],
      options: { namespace: { type: 'string' } },
    });
    const namespace = namespaceOption(values.namespace);
    const content = (): Readonly<Record<string, string>> => {
      const password = randomBytes(24).toString('base64url');
      const server = `chaperone-postgres.${namespace}.svc:5432`;
      return {
        password,
        url: `postgres://chaperone:${password}@${server}/chaperone?sslmode=disable`,
      };
    };
    const isNew = await createSecretOnce({ namespace, name, content });
    process.stdout.write(`Secret ${namespace}/${name} ${isNew ? 'was made' : 'is there'}\n`);
    return 0;
  },
};

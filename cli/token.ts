import { readArguments, type Command } from './command.ts';
import { ChaperoneError } from '#core/errors.ts';
import { findInstance, type Instance } from './instance.ts';

const usage = `usage: chaperone token [--sub USER] [--groups A,B] [--ttl SECONDS] [--data DIR]

Prints a token of the demo's issuer. Agents present it as their password:

  PGPASSWORD=$(npx chaperone token) psql -h 127.0.0.1 -p 15432 -U analyst shop`;

/** `chaperone token`. */
export const token: Command = {
  name: 'token',
  summary: 'prints a token of the demo issuer',
  usage,
  async run(args) {
    const { values } = readArguments({
      args: [...args],
      options: {
        sub: { type: 'string' },
        groups: { type: 'string' },
        ttl: { type: 'string' },
        data: { type: 'string' },
      },
    });
    const { sub, groups, ttl } = values;
    process.stdout.write(`${await fetchToken(findInstance(values.data), { sub, groups, ttl })}\n`);
    return 0;
  },
};

/** Asks the demo's issuer for a token. @throws ChaperoneError `config-invalid`. */
export async function fetchToken(
  { issuer }: Pick<Instance, 'issuer'>,
  claims: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const given = Object.entries(claims).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const response = await fetch(issuer.tokenUrl, {
    method: 'POST',
    body: new URLSearchParams(given),
  }).catch((cause: unknown) => {
    throw new ChaperoneError('config-invalid', 'the issuer does not answer', { cause });
  });
  const answer: unknown = await response.json();
  const value: unknown =
    typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'access_token') : undefined;
  if (typeof value === 'string') return value;
  throw new ChaperoneError(
    'config-invalid',
    `the issuer gave no token (HTTP status ${response.status})`,
  );
}

import { createInterface } from 'node:readline/promises';
import { Client, DatabaseError, type QueryArrayResult } from 'pg';
import { ChaperoneError } from '#core/errors.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance, type Instance, type InstanceBackend } from './instance.ts';
import { printable, printableLines, table } from './terminal.ts';
import { fetchToken } from './token.ts';

const usage = `usage: chaperone sql [STATEMENT] [--as USER[,GROUP…]] [--backend NAME] [--database NAME] [--user NAME] [--data DIR]

Runs SQL through the sidecar with a token of the demo's issuer, by --as of somebody else: one statement, or a prompt that takes one a line.
The database and the user are those of CHAPERONE_BACKEND_URL where that was given, else shop and analyst.
Ctrl-D leaves. For more than that use psql; "chaperone token --help" shows how.`;

/** `chaperone sql`. */
export const sql: Command = {
  name: 'sql',
  summary: 'runs SQL through the sidecar, for those without psql',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        as: { type: 'string' },
        backend: { type: 'string' },
        database: { type: 'string' },
        user: { type: 'string' },
        data: { type: 'string' },
      },
    });
    if (positionals.length > 1)
      throw new UsageError('quote the statement: it has to be one argument');
    const [sub, ...groups] = values.as?.split(',') ?? [];
    if (sub === '') throw new UsageError('--as: want USER or USER,GROUP…');
    const instance = findInstance(values.data);
    const { host, port, ...login } = backendOf(instance, values.backend);
    const { user = login.user ?? 'analyst', database = login.database ?? 'shop' } = values;
    const client = new Client({
      host,
      port,
      user,
      database,
      password: await fetchToken(
        instance,
        sub === undefined ? {} : { sub, groups: groups.join(',') },
      ),
      application_name: 'chaperone sql',
    });
    client.on('error', () => undefined); // the query under way fails with the same error
    await client.connect().catch((cause: unknown) => {
      const message = cause instanceof Error ? cause.message : 'unknown';
      throw new ChaperoneError('config-invalid', `cannot connect: ${printable(message)}`, {
        cause,
      });
    });
    try {
      const [statement] = positionals;
      return statement === undefined
        ? await prompt(client, database)
        : await runStatement(client, statement);
    } finally {
      await client.end();
    }
  },
};

function backendOf({ backends }: Instance, name: string | undefined): InstanceBackend {
  const found =
    name === undefined ? Object.values(backends)[0] : new Map(Object.entries(backends)).get(name);
  if (!found)
    throw new UsageError(
      `there is no backend "${name ?? ''}"; there are: ${Object.keys(backends).join(', ')}`,
    );
  return found;
}

async function prompt(client: Client, database: string): Promise<number> {
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    prompt: `${printable(database)}> `,
  });
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== '') await runStatement(client, line);
    lines.prompt();
  }
  process.stdout.write('\n');
  return 0;
}

/** Of what follows in an error's detail and hint, below their own words. */
const indent = ' '.repeat('  detail: '.length);

async function runStatement(client: Client, text: string): Promise<number> {
  try {
    // pg answers an array when the text holds several statements.
    const answer: QueryArrayResult<unknown[]> | QueryArrayResult<unknown[]>[] = await client.query({
      text,
      rowMode: 'array',
    });
    for (const result of Array.isArray(answer) ? answer : [answer]) print(result);
    return 0;
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    const { severity, code, message, detail, hint } = error;
    process.stderr.write(
      `${printable(severity ?? 'ERROR')} ${printable(code ?? '')}: ${printable(message)}\n`,
    );
    if (detail !== undefined) process.stderr.write(`  detail: ${printableLines(detail, indent)}\n`);
    if (hint !== undefined) process.stderr.write(`  hint: ${printableLines(hint, indent)}\n`);
    return 1;
  }
}

function print({ fields, rows, command, rowCount }: QueryArrayResult<unknown[]>): void {
  if (fields.length > 0) {
    const cells = rows.map((row) => row.map(cellText));
    for (const line of table(
      fields.map(({ name }) => name),
      cells,
    ))
      process.stdout.write(`${line}\n`);
  }
  process.stdout.write(`${printable(command)} ${rowCount ?? ''}\n`);
}

function cellText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' ? value : JSON.stringify(value);
}

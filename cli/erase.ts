import { isUuid } from '#core/uuid.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';
import { printable } from './terminal.ts';

const usage = `usage: chaperone erase SESSION --who WHO --why WHY [--data DIR]

Removes the content of a session for good: statements, parameters, rows and errors. What happened, when, and by whose
order it was erased stays on record, and the records still verify. A legal hold prevents it
("chaperone hold").

  SESSION     the whole id: "chaperone sessions --json" lists them
  --who WHO   who orders it
  --why WHY   on which ground
  --data DIR  of the instance whose data is there`;

/** `chaperone erase`. */
export const erase: Command = {
  name: 'erase',
  summary: 'removes the content of a session, and records by whose order',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: { who: { type: 'string' }, why: { type: 'string' }, data: { type: 'string' } },
    });
    const [session, ...more] = positionals;
    const { who, why } = values;
    if (session === undefined || more.length > 0 || !who || !why)
      throw new UsageError('erase needs the id of one session, --who and --why');
    const isWhole: boolean = isUuid(session);
    if (!isWhole)
      throw new UsageError(`got "${session}", want the whole id of a session: it cannot be undone`);
    const client = new CollectorClient(localCollector(findInstance(values.data)));
    const { erased } = await client.order<{ erased: readonly { readonly records: number }[] }>(
      'POST',
      '/v1/erasures',
      { session, who, why },
    );
    const count = erased.reduce((sum, { records }) => sum + records, 0);
    process.stdout.write(
      count === 0
        ? `session ${session} has no content that is left\n`
        : `erased ${count} payloads of session ${session}, by order of ${printable(who)}\n`,
    );
    return 0;
  },
};

import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';
import { jsonLine } from './statements.ts';
import { printable } from './terminal.ts';

const usage = `usage: chaperone hold [--json] [--data DIR]
       chaperone hold on|off --who WHO --why WHY [--data DIR]

Shows whether a legal hold is on, or orders that it be on or off. Under a hold nothing is dropped by retention, and
nothing is erased. Each order stays on record.

  --who WHO   who orders it
  --why WHY   on which ground
  --json      as JSON
  --data DIR  of the instance whose data is there`;

/** The last order; none was given where only `held` is there. */
interface Hold {
  readonly held: boolean;
  readonly who?: string;
  readonly why?: string;
  readonly time?: string;
}

/** `chaperone hold`. */
export const hold: Command = {
  name: 'hold',
  summary: 'keeps all that is recorded from being dropped or erased',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        who: { type: 'string' },
        why: { type: 'string' },
        json: { type: 'boolean', default: false },
        data: { type: 'string' },
      },
    });
    const [order, ...more] = positionals;
    const { who, why } = values;
    if (more.length > 0 || (order !== undefined && order !== 'on' && order !== 'off'))
      throw new UsageError('hold takes "on" or "off", or nothing to show whether it is on');
    if (order === undefined ? who !== undefined || why !== undefined : !who || !why)
      throw new UsageError('hold on and hold off need --who and --why, and go with no other');
    const client = new CollectorClient(localCollector(findInstance(values.data)));
    if (order !== undefined)
      await client.order<Hold>('PUT', '/v1/legal-hold', { held: order === 'on', who, why });
    const state = await client.json<Hold>('/v1/legal-hold');
    process.stdout.write(values.json ? jsonLine(state) : `${describe(state)}\n`);
    return 0;
  },
};

function describe({ held, who, why, time }: Hold): string {
  if (who === undefined) return 'no legal hold: none was ever ordered';
  const order = printable(`by order of ${who}, ${time}: ${why}`);
  return held ? `legal hold: nothing is dropped or erased, ${order}` : `no legal hold, ${order}`;
}

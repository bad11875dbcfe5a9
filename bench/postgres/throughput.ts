import type { Setting } from '../setting.ts';
import { figureOf, interleave, type Goal, type Measured } from '../rounds.ts';
import { pgbench } from './clients.ts';

export interface Effort {
  /** Length of a round. */
  readonly seconds: number;
  readonly rounds: number;
  readonly say: (line: string) => void;
}

/** One client waits for each answer; eight keep both cores busy. */
const clientCounts = [1, 8] as const;
const modes = ['simple', 'prepared'] as const;

/** pgbench -S: the newest value of a row by its key, again and again. */
export async function* throughput(setting: Setting, effort: Effort): AsyncGenerator<Measured> {
  for (const mode of modes) {
    for (const clients of clientCounts) {
      yield* measure(setting, effort, { mode, clients });
    }
  }
}

async function* measure(
  setting: Setting,
  { seconds, rounds, say }: Effort,
  { mode, clients }: { readonly mode: (typeof modes)[number]; readonly clients: 1 | 8 },
): AsyncGenerator<Measured> {
  const title = `pgbench -S, ${mode}, ${clients} client${clients > 1 ? 's' : ''}${setting.tls ? ', TLS' : ''}`;
  say(title);
  const args = [
    '--select-only',
    '--no-vacuum',
    `--protocol=${mode}`,
    `--client=${clients}`,
    `--jobs=${Math.min(clients, 2)}`,
    `--time=${seconds}`,
  ];
  const value = async (route: Setting['direct']): Promise<number> => {
    const { transactionsPerSecond, latencyMs } = await pgbench(route, args, setting.tls);
    return clients === 1 ? latencyMs : transactionsPerSecond;
  };
  const drains: number[] = [];
  const drainRates: number[] = [];
  const figures = await interleave(rounds, {
    direct: () => value(setting.direct),
    relay: () => value(setting.relay),
    spooled: async () => {
      setting.pauseShipping();
      try {
        return await recorded(setting, args, clients);
      } finally {
        await setting.resumeShipping();
      }
    },
    beside: async () => {
      const before = await setting.metric('chaperone_records_shipped_total');
      const began = performance.now();
      const own = await recorded(setting, args, clients);
      const { seconds: drain } = await setting.resumeShipping();
      const shipped = (await setting.metric('chaperone_records_shipped_total')) - before;
      drains.push(drain);
      drainRates.push(shipped / ((performance.now() - began) / 1000));
      return own;
    },
  });
  const { direct, relay } = figures;
  const unit = clients === 1 ? 'ms' : 'tps';
  const goals: { spooled: Goal; beside?: Goal } =
    clients === 1
      ? { spooled: { kind: 'more-than-direct', by: 0.15 } }
      : {
          spooled: { kind: 'at-least', of: 'relay', ratio: 0.75 },
          beside: { kind: 'at-least', of: 'relay', ratio: 0.45 },
        };
  yield {
    measure: `${title}, shipping paused`,
    unit,
    figures: { direct, relay, chaperone: figures.spooled },
    goal: goals.spooled,
  };
  yield {
    measure: `${title}, collector beside`,
    unit,
    figures: { direct, relay, chaperone: figures.beside },
    ...(goals.beside ? { goal: goals.beside } : {}),
  };
  if (clients === 1) return;
  const single = (values: readonly number[]) => ({ chaperone: figureOf(values) });
  yield { measure: `${title}, until all is stored`, unit: 's', figures: single(drains) };
  yield { measure: `${title}, stored`, unit: 'records/s', figures: single(drainRates) };
}

/** A round counts only if every transaction left its request and its result, and nothing was refused. */
export async function recorded(
  setting: Setting,
  args: readonly string[],
  clients: number,
): Promise<number> {
  const count = async () => ({
    records: await setting.metric('chaperone_records_written_total'),
    refused: await setting.metric('chaperone_operations_total', 'verdict="Deny"'),
  });
  const before = await count();
  const result = await pgbench(setting.chaperone, args, setting.tls);
  const after = await count();
  const records = after.records - before.records;
  if (records < 2 * result.transactions)
    throw new Error(`${result.transactions} transactions left ${records} records`);
  if (after.refused > before.refused) throw new Error('operations were refused');
  return clients === 1 ? result.latencyMs : result.transactionsPerSecond;
}

/** A connection for each transaction: login, TLS, token and all. */
export async function connections(setting: Setting, effort: Effort): Promise<Measured> {
  const title = `connections a second, 4 clients${setting.tls ? ', TLS' : ''}`;
  effort.say(title);
  const args = [
    '--connect',
    '--select-only',
    '--no-vacuum',
    '--client=4',
    '--jobs=2',
    `--time=${effort.seconds}`,
  ];
  const value = async (route: Setting['direct']): Promise<number> =>
    (await pgbench(route, args, setting.tls)).transactionsPerSecond;
  const figures = await interleave(effort.rounds, {
    direct: () => value(setting.direct),
    relay: () => value(setting.relay),
    chaperone: () => value(setting.chaperone),
  });
  return { measure: title, unit: 'connections/s', figures };
}

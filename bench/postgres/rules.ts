import { Client } from 'pg';
import { pssOf } from '../../test/support/inspector.ts';
import { figureOf, interleave, type Measured } from '../rounds.ts';
import type { Setting } from '../setting.ts';
import { stalls } from './stalls.ts';
import { recorded, type Effort } from './throughput.ts';

const megabyte = 1024 * 1024;
const distinctTexts = 10_000;

/** Fifty, of which one allows what pgbench does; a fifth of the others have conditions to work out. */
export const fifty: readonly object[] = [
  {
    name: 'bench',
    backends: ['through'],
    anySubject: true,
    postgres: {
      commands: ['SELECT', 'SET', 'BEGIN', 'COMMIT'],
      tables: ['public.*', 'pg_catalog.*'].map((name) => ({ name, access: ['Read'] })),
      functions: ['*'],
    },
    action: 'Allow',
  },
  ...Array.from({ length: 49 }, (_, index) => ({
    name: `no-${index}`,
    backends: ['through'],
    anySubject: true,
    postgres: { tables: [{ name: `secret.table_${index}` }] },
    ...(index % 5 === 0 ? { when: '!(has(statement.hasWhere) && statement.hasWhere)' } : {}),
    action: 'Deny',
  })),
];

/** pgbench -S under fifty rules against the same with recording alone, which stands as `direct`; and what texts cost. */
export async function* rules(setting: Setting, effort: Effort): AsyncGenerator<Measured> {
  for (const mode of ['simple', 'prepared'] as const) {
    const measure = `pgbench -S, ${mode}, 8 clients, 50 rules against recording alone`;
    effort.say(measure);
    const args = [
      '--select-only',
      '--no-vacuum',
      `--protocol=${mode}`,
      '--client=8',
      '--jobs=2',
      `--time=${effort.seconds}`,
    ];
    const round = async (): Promise<number> => {
      setting.pauseShipping();
      try {
        return await recorded(setting, args, 8);
      } finally {
        await setting.resumeShipping();
      }
    };
    const { alone, ruled } = await interleave(effort.rounds, {
      alone: round,
      ruled: async () => {
        await setting.setRules(fifty);
        try {
          return await round();
        } finally {
          await setting.setRules(undefined);
        }
      },
    });
    const goal = { kind: 'at-least', of: 'direct', ratio: 0.9 } as const;
    yield { measure, unit: 'tps', figures: { direct: alone, chaperone: ruled }, goal };
  }
  await setting.setRules(fifty);
  yield await distinct(setting, effort);
  await setting.setRules(undefined);
}

/** What hard texts cost other sessions while there are rules that need them read. */
export async function* stallsUnderRules(
  setting: Setting,
  effort: Effort,
): AsyncGenerator<Measured> {
  await setting.setRules(fifty);
  yield* stalls(setting, effort);
  await setting.setRules(undefined);
}

/** The most that the sidecar holds while it reads texts of which none comes twice. */
async function distinct(setting: Setting, { say }: Effort): Promise<Measured> {
  const measure = `memory, peak over ${distinctTexts} distinct statements under 50 rules`;
  say(measure);
  const { port, password } = setting.chaperone;
  const client = new Client({ host: '127.0.0.1', port, password, user: 'postgres', database: 'bench' }); // prettier-ignore
  await client.connect();
  let most = 0;
  const timer = setInterval(() => (most = Math.max(most, pssOf(setting.sidecarPid))), 50);
  for (let id = 1; id <= distinctTexts; id += 1)
    await client.query(
      `SELECT abalance AS a${id} FROM pgbench_accounts AS t${id} WHERE aid = ${id} AND bid > ${id % 7}`,
    );
  clearInterval(timer);
  await client.end();
  return {
    measure,
    unit: 'MB',
    figures: { chaperone: figureOf([most / megabyte]) },
    goal: { kind: 'limit', most: 220 },
  };
}

import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { figureOf, type Measured } from '../rounds.ts';
import type { Setting } from '../setting.ts';
import type { Effort } from './throughput.ts';

/** Texts that are hard on whoever reads them. */
const texts: readonly (readonly [what: string, text: string])[] = [
  ['nothing hard', 'SELECT 1'],
  ['10 000 terms', `SELECT ${Array.from({ length: 10_000 }, (_, index) => index).join('+')}`],
  ['5 000 parentheses', `SELECT ${'('.repeat(5_000)}1${')'.repeat(5_000)}`],
  [
    '10 000 rows, 200 KB',
    `SELECT * FROM (VALUES ${"(1,'abcdefghijklmn'),".repeat(9_999)} (1,'a')) v`,
  ],
  ['a string of 200 KB', `SELECT length('${'x'.repeat(200_000)}')`],
  ['a string of 1 MB', `SELECT length('${'x'.repeat(1_000_000)}')`],
  ['rows of 1 MB', `SELECT * FROM (VALUES ${"(1,'abcdefghijklmn'),".repeat(47_000)} (1,'a')) v`],
  ['comments of 1 MB', `SELECT 1 ${'/* never */ '.repeat(80_000)}`],
  ['dollar quotes', `SELECT ${'$a$x$a$,'.repeat(10_000)} 1`],
];
const turns = 5;

/** How often Node looks at the loop, in ms: what it tells of each look is the time since the one before. */
const resolution = 10;

/**
 * What hostile texts of one session cost the others under rules: the longest time for which the sidecar's event loop did
 * nothing else, by its own metric. That begins anew at each look, with the second interval after it, hence the waits.
 */
export async function* stalls(setting: Setting, { say }: Effort): AsyncGenerator<Measured> {
  const { port, password } = setting.chaperone;
  const client = new Client({ host: '127.0.0.1', port, password, user: 'postgres', database: 'bench' }); // prettier-ignore
  await client.connect();
  const lagMs = async (): Promise<number> =>
    Math.max(0, (await setting.metric('nodejs_eventloop_lag_max_seconds')) * 1000 - resolution);
  try {
    for (const [what, text] of texts) {
      const measure = `longest stall by ${what}`;
      say(measure);
      const lags: number[] = [];
      for (let turn = 0; turn < turns; turn += 1) {
        await lagMs();
        await delay(3 * resolution);
        await client.query(text).catch(() => undefined); // refused, or too much for the backend
        await delay(2 * resolution);
        lags.push(await lagMs());
      }
      const goal = { kind: 'limit', most: 20 } as const;
      yield { measure, unit: 'ms', figures: { chaperone: figureOf(lags) }, goal };
    }
  } finally {
    await client.end();
  }
}

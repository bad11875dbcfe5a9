import type { Route, Setting } from '../setting.ts';
import { interleave, type Goal, type Measured } from '../rounds.ts';
import { drainMs, psqlMs } from './clients.ts';
import type { Effort } from './throughput.ts';

const select = 'SELECT * FROM rows';
const copy = 'COPY rows TO STDOUT';

const streamed: readonly {
  readonly name: string;
  readonly run: (route: Route, tls: boolean) => Promise<number>;
  readonly goal: Goal;
}[] = [
  {
    name: 'SELECT of 500 000 rows, psql',
    run: (route, tls) => psqlMs(route, select, tls),
    goal: { kind: 'at-most', of: 'direct', ratio: 1.1 },
  },
  {
    name: 'SELECT of 500 000 rows, drained',
    run: (route, tls) => drainMs(route, select, tls),
    goal: { kind: 'at-most', of: 'direct', ratio: 1.8 },
  },
  {
    name: 'COPY out of 500 000 rows, psql',
    run: (route, tls) => psqlMs(route, copy, tls),
    goal: { kind: 'at-most', of: 'direct', ratio: 1.3 },
  },
];

/** Large answers, every byte of them recorded. */
export async function* streams(setting: Setting, effort: Effort): AsyncGenerator<Measured> {
  for (const { name, run, goal } of streamed) {
    const title = `${name}${setting.tls ? ', TLS' : ''}`;
    effort.say(title);
    const figures = await interleave(2 * effort.rounds + 1, {
      direct: () => run(setting.direct, setting.tls),
      relay: () => run(setting.relay, setting.tls),
      spooled: async () => {
        setting.pauseShipping();
        try {
          return await run(setting.chaperone, setting.tls);
        } finally {
          await setting.resumeShipping();
        }
      },
      beside: async () => {
        const ms = await run(setting.chaperone, setting.tls);
        await setting.resumeShipping();
        return ms;
      },
    });
    const { direct, relay, spooled, beside } = figures;
    yield {
      measure: `${title}, shipping paused`,
      unit: 'ms',
      figures: { direct, relay, chaperone: spooled },
      goal,
    };
    yield {
      measure: `${title}, collector beside`,
      unit: 'ms',
      figures: { direct, relay, chaperone: beside },
    };
  }
}

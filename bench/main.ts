import { parseArgs } from 'node:util';
import { judge, type Line, type Measured } from './rounds.ts';
import { startSetting, type Setting } from './setting.ts';
import { collector } from './collector/measures.ts';
import { memoryOfAnswers, memoryOfSessions, start } from './postgres/footprint.ts';
import { rules, stallsUnderRules } from './postgres/rules.ts';
import { streams } from './postgres/streams.ts';
import { podStarts } from './cluster.ts';
import { policies } from './policy.ts';
import { spool } from './spool.ts';
import { connections, throughput, type Effort } from './postgres/throughput.ts';

const usage = `usage: npm run bench -- postgres|collector|spool|policy|cluster [--json] [--quick] [--only WORD] [--seconds N] [--rounds N] [--profile]

postgres measures PostgreSQL direct, through a bare relay, and through Chaperone with everything recorded, in interleaved rounds.
collector measures what a collector takes in beside its store, and how it answers with a million sessions in there.
The machine should have nothing else to do. --quick takes short rounds: enough to see whether something broke.
--only takes the measures of one group: throughput, connections, streams, rules, stalls, memory, start, tls; drivers, simple, answers.

spool measures recording alone: requests with their results through gate and writer, with the worker beside them and no
collector. --profile says where the time of the agents' thread went.

policy measures how long policies take to compile, and a verdict to be made.

cluster measures how long pods take to start on this machine's own cluster, with Chaperone and without.`;

const { values, positionals } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

const effort: Effort = {
  seconds: Number(values.seconds ?? (values.quick ? 3 : 30)),
  rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
  say: (line) => void process.stderr.write(`… ${line}\n`),
};
const wanted = (group: string): boolean => values.only === undefined || group === values.only;

const benches: ReadonlyMap<string | undefined, () => AsyncGenerator<Measured>> = new Map([
  ['postgres', measures],
  ['policy', () => policies(effort)],
  ['cluster', () => podStarts(effort)],
  ['spool', () => spool(effort, { profile: values.profile })],
  [
    'collector',
    () =>
      collector({
        seconds: Number(values.seconds ?? (values.quick ? 5 : 60)),
        quick: values.quick,
        wanted,
        say: effort.say,
      }),
  ],
]);
const measure = benches.get(positionals[0]);

if (!measure) {
  process.stderr.write(`${usage}\n`);
  process.exitCode = 2;
} else {
  let missed = 0;
  for await (const measured of measure()) {
    const line = judge(measured);
    if (line.ok === false) missed += 1;
    process.stdout.write(values.json ? `${JSON.stringify(line)}\n` : `${readable(line)}\n`);
  }
  if (missed > 0) process.stderr.write(`${missed} goals were missed\n`);
}

async function* measures(): AsyncGenerator<Measured> {
  if (wanted('start')) yield* start(effort);
  const groups = ['throughput', 'connections', 'streams', 'rules', 'stalls', 'memory'];
  if (groups.some(wanted)) {
    await using setting = await startSetting({ tls: false, say: effort.say });
    yield* inSetting(setting);
  }
  if (wanted('memory')) {
    await using setting = await startSetting({ tls: false, say: effort.say });
    yield* memoryOfSessions(setting, effort);
  }
  if (wanted('tls')) {
    await using setting = await startSetting({ tls: true, say: effort.say });
    yield* throughput(setting, effort);
    yield await connections(setting, effort);
    yield* streams(setting, effort);
  }
}

async function* inSetting(setting: Setting): AsyncGenerator<Measured> {
  if (wanted('throughput')) yield* throughput(setting, effort);
  if (wanted('connections')) yield await connections(setting, effort);
  if (wanted('streams')) yield* streams(setting, effort);
  if (wanted('rules')) yield* rules(setting, effort);
  if (wanted('stalls')) yield* stallsUnderRules(setting, effort);
  if (wanted('memory')) yield* memoryOfAnswers(setting, effort);
}

function readable({ measure, unit, goal, ok, spread, ratio, ...line }: Line): string {
  const routes = (['direct', 'relay', 'chaperone'] as const).flatMap((name) => {
    const value = line[name];
    const [min, max] = spread[name] ?? [0, 0];
    return value === null ? [] : [`${name} ${value} (${min}–${max})`];
  });
  const verdict = ok === null ? '' : `  ${ok ? 'ok' : 'MISSED'}: ${ratio}, goal ${goal}`;
  return `${measure}: ${routes.join(', ')} ${unit}${verdict}`;
}

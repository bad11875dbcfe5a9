import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { playCase, prepareTemplate, type Outcome } from '../support/bypass.ts';
import { bypassCases, type BypassCase } from '../support/bypass-cases.ts';
import { marker } from '../support/bypass-texts.ts';
import { ruleOf, writePolicy } from '../support/policy-file.ts';
import { scaled } from '../support/random.ts';
import type { RawLogin } from '../support/raw-client.ts';
import { readOnlyCases, refusedByBoth } from '../support/read-only-cases.ts';
import { startThrough, type Through } from '../support/through.ts';

let server: BackendServer;
before(async () => {
  server = await startBackendServer({ version: 18, authentication: 'password' });
  await prepareTemplate(server);
});
after(async () => server[Symbol.asyncDispose]());

/** Starts a sidecar under one policy that enforces these rules, and no other. */
async function startUnder(
  defaultAction: 'Allow' | 'Deny',
  rules: readonly object[],
): Promise<Through> {
  return startThrough(server, {
    prepare: (config) => writePolicy(config, { defaultAction, rules: rules.map(ruleOf) }),
  });
}

const loginOf = ({ host, port, password }: Through): Omit<RawLogin, 'database'> => ({
  host,
  port,
  password,
  user: 'postgres',
});

const leaks = ({ answers }: Outcome): boolean => answers.some((answer) => answer.includes(marker));
const isRefusal = (answer: string): boolean =>
  answer.startsWith('E ') && /denied by |chaperone|too long|cannot be read/.test(answer);

describe('without a gateway each of them works', () => {
  const every = [...bypassCases, ...readOnlyCases];
  for (const each of every.filter((_, index) => index % 10 < scaled(10)))
    test(each.what, async () => {
      const outcome = await playCase(server, server, each);
      assert.ok(
        leaks(outcome) || outcome.harm.length > 0,
        outcome.answers.join('\n').slice(-2_000),
      );
    });
});

const everyAccess = ['Read', 'Write', 'Define'];
const suites: readonly [
  what: string,
  cases: readonly BypassCase[],
  start: () => Promise<Through>,
][] = [
  [
    'a Deny of salaries, victim and functions, where all else is allowed',
    bypassCases,
    () =>
      startUnder('Allow', [
        {
          postgres: {
            tables: ['salaries', 'victim'].map((name) => ({ name, access: everyAccess })),
            functions: ['public.*'],
            commands: ['CALL', 'DROP SCHEMA'],
          },
          action: 'Deny',
        },
        { when: 'has(statement.copy) && statement.copy.target == "File"', action: 'Deny' },
      ]),
  ],
  [
    'an Allow of orders alone',
    bypassCases,
    () =>
      startUnder('Deny', [
        {
          postgres: {
            commands: ['*'],
            tables: [{ name: 'public.orders', access: everyAccess }],
          },
          when: '!has(statement.copy) || statement.copy.target != "File"',
          action: 'Allow',
        },
      ]),
  ],
  [
    'an Allow of what is read-only',
    [...readOnlyCases, ...refusedByBoth],
    () =>
      startUnder('Deny', [
        {
          postgres: {
            readOnly: true,
          },
          action: 'Allow',
        },
      ]),
  ],
];

for (const [what, cases, start] of suites) {
  describe(`under ${what}`, () => {
    let through: Through;
    before(async () => (through = await start()));
    after(async () => through[Symbol.asyncDispose]());

    test('orders can be read', async () => {
      const { answers } = await playCase(server, loginOf(through), { steps: ['TABLE orders'] });
      assert.ok(
        answers.some((answer) => answer.includes('mugs')),
        answers.join('\n'),
      );
    });

    for (const each of cases)
      test(`${each.what}: refused, with nothing shown and nothing done`, async () => {
        const outcome = await playCase(server, loginOf(through), each);
        const said = outcome.answers.join('\n').slice(-2_000);
        assert.ok(!leaks(outcome), said);
        assert.deepEqual(outcome.harm, [], said);
        assert.ok(outcome.answers.some(isRefusal), said);
      });
  });
}

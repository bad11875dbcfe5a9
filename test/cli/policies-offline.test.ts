import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { readExpectations } from '../../cli/expectations.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { ReplayTally, type Judgement } from '../../cli/replay-tally.ts';
import type { RecordedRequest } from '../../cli/recorded-requests.ts';

const run = promisify(execFile);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function chaperone(...args: readonly string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await run(process.execPath, [join(projectDirectory, 'cli/main.ts'), ...args]); // prettier-ignore
    return { code: 0, out: stdout, error: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }; // execFile attaches them
    return { code, out: stdout, error: stderr };
  }
}

const policy = `apiVersion: chaperone.dev/v1alpha1
kind: AuditPolicy
metadata:
  name: shop
  namespace: local
spec:
  podSelector: {}
  identity: Token
  mode: Enforce
  rules:
    - name: analysts-read
      backends: [shop]
      subjects:
        - provider: demo
          groups: [analysts]
      postgres:
        commands: [SELECT]
        tables:
          - name: public.orders
            access: [Read]
      action: Allow
    - name: small
      backends: [shop]
      anySubject: true
      when: statement.hasLimit && statement.limit < 10
      postgres:
        tables:
          - name: products
      action: Allow
    - name: elsewhere
      backends: [other]
      anySubject: true
      action: Deny
---
apiVersion: chaperone.dev/v1alpha1
kind: AuditPolicy
metadata:
  name: trial
  namespace: local
spec:
  podSelector: {}
  mode: Observe
  rules:
    - name: no-orders
      backends: [shop]
      anySubject: true
      postgres:
        tables:
          - name: public.orders
      action: Deny
`;

describe('policies of a directory', () => {
  let directory: string;
  let none: string;
  const asAda = ['--as', 'ada,analysts', '--backend', 'shop'];
  const explain = (...args: string[]): Promise<Ran> => chaperone('explain', '--config', directory, ...args); // prettier-ignore
  const expecting = (name: string, text: string): string => {
    const file = join(none, name);
    writeFileSync(file, text);
    return file;
  };

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'chaperone-offline-'));
    none = mkdtempSync(join(tmpdir(), 'chaperone-none-'));
    cpSync(join(projectDirectory, 'examples/local'), directory, { recursive: true });
    writeFileSync(join(directory, 'policies.yaml'), policy);
  });
  after(() => {
    for (const each of [directory, none]) rmSync(each, { recursive: true, force: true });
  });

  test('explain who is allowed by which rule, and why the others are out', async () => {
    const { code, out } = await explain(...asAda, 'SELECT id FROM public.orders');
    assert.equal(code, 0);
    assert.match(out, /^ALLOWED, WOULD BE DENIED by AuditPolicy\/local\/shop, rule analysts-read \(rule\)\n {2}once every policy enforces: DENIED by AuditPolicy\/local\/trial, rule no-orders \(rule\)/); // prettier-ignore
    assert.match(out, /analysts-read \| Allow +\| DECIDED/);
    assert.match(out, /elsewhere +\| Deny +\| is about other backends/);
    assert.match(out, /small +\| Allow +\| nothing that it lists is there/);
    const other = await explain('--as', 'eve', '--backend', 'shop', 'SELECT id FROM public.orders');
    assert.equal(other.code, 5);
    assert.match(other.out, /^DENIED by AuditPolicy\/local\/shop \(not-covered\)/);
    assert.match(other.out, /analysts-read \| Allow +\| is about others/);
  });

  test('say that no catalogue is known, without which a name may be in any schema', async () => {
    const { code, out } = await explain(...asAda, 'SELECT id FROM orders');
    assert.equal(code, 5);
    assert.match(out, /Read on orders +\| stopped by no-orders/);
    assert.match(out, /No catalogue says what names stand for/);
  });

  test('take conditions into account, and every statement of a text', async () => {
    const limited = await explain(...asAda, 'SELECT * FROM products LIMIT 20');
    assert.match(limited.out, /small +\| Allow +\| its condition is false/);
    const two = await explain(...asAda, 'SELECT id FROM public.orders; DROP TABLE public.orders');
    assert.equal(two.code, 5);
    assert.match(two.out, /statement 1: SELECT[^]*statement 2: DROP TABLE/);
  });

  test('are those of the pod that is named', async () => {
    const elsewhere = await explain(...asAda, '--namespace', 'other', 'SELECT 1');
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.error, /there is no Backend "shop" that this pod may use; there is none/); // prettier-ignore
    const workload = await explain('--as', 'system:serviceaccount:local:local', '--backend', 'shop', 'SELECT 1'); // prettier-ignore
    assert.match(workload.out, /A policy asks for a token: the workload cannot log in as itself/);
  });

  test('are explained as JSON, one line that steers no terminal', async () => {
    const { out } = await explain(...asAda, '--json', "SELECT '\u009b\u202e'");
    assert.doesNotMatch(out, /[^\P{C}\n]/u);
    const { explanation } = JSON.parse(out) as { explanation: { verdict: { recorded: object } } };
    assert.deepEqual(Object.keys(explanation.verdict.recorded).sort(), ['action', 'policy', 'reason', 'revision', 'rule', 'wouldBe']); // prettier-ignore
  });

  test('with a mistake are refused with its place', async () => {
    writeFileSync(join(none, 'wrong.yaml'), policy.replace('mode: Enforce', 'mode: Enfroce'));
    const { code, error } = await chaperone('explain', '--config', none, ...asAda, 'SELECT 1');
    assert.equal(code, 1);
    assert.match(
      error,
      /the policies cannot be read:\n {2}.*wrong\.yaml:9: spec\.mode: got "Enfroce"/,
    );
    rmSync(join(none, 'wrong.yaml'));
  });

  test('meet expectations or not, in YAML and in JSON, without an instance', async () => {
    const text = 'SELECT id FROM public.orders';
    const [a, b] = [
      { as: 'ada', groups: ['analysts'], provider: 'demo', backend: 'shop', text, want: 'Allow', rule: 'analysts-read' },
      { as: 'eve', backend: 'shop', text, want: 'Deny' },
    ]; // prettier-ignore
    const lines = expecting('lines', `${JSON.stringify(a)}\n\n${JSON.stringify(b)}\n`);
    const yaml = expecting('yaml', `- ${JSON.stringify(a)}\n- as: eve\n  backend: shop\n  text: |-\n    ${text}\n  want: Allow\n`); // prettier-ignore
    const offline = ['--data', none];
    const met = await chaperone('replay', directory, '--expect', lines, ...offline);
    assert.deepEqual([met.code, met.out], [0, '2 expectations, all as wanted\n']);
    assert.match(met.error, /2 judged without a catalogue/);
    const missed = await chaperone('replay', directory, '--expect', yaml, '--json', ...offline);
    assert.equal(missed.code, 1);
    assert.deepEqual(JSON.parse(missed.out), {
      expectations: 2,
      failures: [{ number: 2, text, want: 'Allow', got: 'Deny by AuditPolicy/local/shop (not-covered)' }],
    }); // prettier-ignore
  });

  const wrong: [what: string, text: string, want: RegExp][] = [
    ['no YAML', '- {', /Flow map/],
    ['no JSON on a line', '{"as":"a"\n', /:1: no JSON/],
    ['no mapping', '- text', /expectation 1: want an object/],
    ['an unknown field', '- {as: a, wnat: Deny}', /unknown field "wnat"/],
    ['another verdict', '- {as: a, backend: b, text: t, want: Perhaps}', /want: got "Perhaps"/],
    ['a missing text', '- {as: a, backend: b, want: Deny}', /text: missing/],
    ['groups that are no list', '- {as: a, groups: g}', /groups: want a list/],
    ['aliases', '- &a {as: x}\n- *a\n', /write out what its aliases/],
  ];
  for (const [what, text, want] of wrong) {
    test(`do not take expectations that hold ${what}`, () => {
      assert.throws(() => readExpectations(expecting('wrong', text)), { name: 'UsageError', message: want }); // prettier-ignore
    });
  }
});

describe('a replay', () => {
  const verdict = { action: 'Allow', wouldBe: 'Allow', reason: 'rule', policy: 'P', revision: 'r' } as const; // prettier-ignore
  const request = (text: string): RecordedRequest => ({
    session: 's',
    seq: 1,
    time: '',
    principal: { kind: 'token', user: 'u' },
    backend: 'b',
    database: undefined,
    text,
    verdict,
    protocol: 'Postgres',
    namespace: 'n',
  });
  const denied = (rule: string): Judgement => {
    const now = { ...verdict, action: 'Deny', wouldBe: 'Deny', rule } as const;
    return { verdict: now, wouldBe: now, hasCatalogue: true, hasUnknown: false };
  };

  test('keeps a few examples of each change, and a bounded number of changes', () => {
    const tally = new ReplayTally();
    for (let index = 0; index < 5_000; index += 1)
      tally.add(request(`${index} ${'x'.repeat(1_000)}`), denied(`r${index % 1_500}`));
    const { requests, changes, unlisted } = tally.summary();
    assert.equal(requests, 5_000);
    assert.equal(changes.length, 1_000);
    assert.equal(unlisted + changes.reduce((sum, { count }) => sum + count, 0), 5_000);
    for (const { examples } of changes) {
      assert.ok(examples.length <= 3);
      for (const { text } of examples) assert.equal(text.length, 200);
    }
  });

  test('counts what would be denied by a policy that observes as a change of its own', () => {
    const tally = new ReplayTally();
    const { verdict: deny } = denied('r');
    tally.add(request('x'), { verdict: { ...verdict, wouldBe: 'Deny' }, wouldBe: deny, hasCatalogue: true, hasUnknown: false }); // prettier-ignore
    const [change] = tally.summary().changes;
    assert.deepEqual([change?.was, change?.wouldBe, change?.by], ['allowed', 'allowed, would be denied', 'P, rule r (rule)']); // prettier-ignore
  });
});

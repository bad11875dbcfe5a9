import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { DatabaseError } from 'pg';
import { parse, parseAllDocuments } from 'yaml';
import { parseResource } from '#core/policy/parse.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const program = join(projectDirectory, 'cli/main.ts');
const bidi = '\u202e';

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function chaperone(...args: readonly string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await run(process.execPath, [program, ...args]);
    return { code: 0, out: stdout, error: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }; // execFile attaches them
    return { code, out: stdout, error: stderr };
  }
}

const rules = `    - name: no-customers
      backends: [shop]
      anySubject: true
      postgres:
        tables:
          - name: public.customers
      action: Deny
      message: personal data
`;

/** Adds rules to those of the policy of the namespace, which are the last of the file. */
function addRules(directory: string, added: string): void {
  const file = join(directory, 'policies.yaml');
  writeFileSync(file, `${readFileSync(file, 'utf8')}${added}`);
}

function newDirectory(added: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-policies-'));
  cpSync(join(projectDirectory, 'examples/local'), directory, { recursive: true });
  addRules(directory, added);
  return directory;
}

describe('policies of a running instance, asked about', () => {
  let instance: TestInstance;
  let session: string;
  let refusal: DatabaseError;
  let stricter: string;
  const of = (...args: readonly string[]): Promise<Ran> => chaperone(...args, '--data', instance.data); // prettier-ignore
  const asAda = ['--as', 'ada,analysts', '--backend', 'shop', '--database', 'shop'];

  before(async () => {
    instance = await startInstance({ prepare: (config) => addRules(config, rules) });
    stricter = newDirectory(
      rules.replace('public.customers', 'public.orders').replace('no-customers', 'no-orders'),
    );
    const client = await instance.connect({ password: await instance.token({ sub: 'ada', groups: 'analysts' }) }); // prettier-ignore
    await client.query('SELECT count(*) FROM orders');
    await client.query('SELECT count(*) FROM orders');
    await client.query('SELECT name FROM products WHERE price > $1', [10]);
    await client.query(`SELECT '${bidi}\u001b[2J' AS hostile`);
    const refused: unknown = await client.query('SELECT ssn FROM customers WHERE id = $1', [1]).catch((error: unknown) => error); // prettier-ignore
    assert.ok(refused instanceof DatabaseError);
    refusal = refused;
    await client.end();
    session = await until('the session is stored', async () => {
      const [newest] = await instance.collector().sessions({ who: 'ada' });
      return newest?.endedAt === null ? undefined : newest?.id;
    });
  });
  after(async () => {
    await instance[Symbol.asyncDispose]();
    rmSync(stricter, { recursive: true, force: true });
  });

  test('the line that a refusal ends with explains it, by its recorded text and principal', async () => {
    const [, line = ''] = /sees why with: chaperone (explain [0-9a-f-]+)$/.exec(refusal.hint ?? '') ?? []; // prettier-ignore
    const { code, out } = await of(...line.split(' '));
    assert.equal(code, 5);
    assert.match(out, /^#\d+ of session \S+, \S+: denied by AuditPolicy\/local\/shop, rule no-customers \(rule\)\nThe same policies are asked now:\n\nDENIED by AuditPolicy\/local\/shop, rule no-customers/); // prettier-ignore
    assert.match(out, /it says: personal data/);
    assert.match(out, /SELECT ssn FROM customers WHERE id = \$1/);
    assert.match(out, /ada \(analysts\), with a token of demo/);
    assert.match(out, /Read on public\.customers +\| stopped by no-customers/);
    assert.match(out, /no-customers \| Deny +\| DECIDED/);
  });

  test('any recorded request is explained by its number', async () => {
    const { out } = await of('sessions', 'show', session);
    const [, seq = ''] = /#(\d+)\n {4}SELECT count/.exec(out) ?? [];
    const explained = await of('explain', `${session}#${seq}`, '--json');
    assert.equal(explained.code, 0);
    const { question, recorded } = JSON.parse(explained.out) as { question: { text: string }; recorded: { seq: number } }; // prettier-ignore
    assert.deepEqual([question.text, recorded.seq], ['SELECT count(*) FROM orders', Number(seq)]);
    const none = await of('explain', `${session}#999999999`);
    assert.equal(none.code, 1);
    assert.match(none.error, /has no request #999999999/);
  });

  test('SQL is explained by the policies in force and the catalogue, and is not run', async () => {
    const denied = await of('explain', ...asAda, 'DELETE FROM customers');
    assert.equal(denied.code, 5);
    assert.match(denied.out, /^DENIED by AuditPolicy\/local\/shop, rule no-customers \(rule\)/);
    const allowed = await of('explain', ...asAda, 'DELETE FROM nowhere USING nothing'); // prettier-ignore
    assert.equal(allowed.code, 0);
    assert.match(allowed.out, /The catalogue does not have: nothing, nowhere/);
    const blind = await of('explain', '--as', 'ada', '--backend', 'shop', 'SELECT 1');
    assert.match(blind.out, /With --database names are looked up there/);
  });

  test('what is wrong with a question is said', async () => {
    const backend = await of('explain', '--as', 'ada', '--backend', 'nix', 'SELECT 1');
    assert.equal(backend.code, 1);
    assert.match(backend.error, /there is no Backend "nix" that this pod may use; there are: shop/);
    const provider = await of('explain', ...asAda, '--provider', 'nix', 'SELECT 1');
    assert.match(provider.error, /there is no IdentityProvider "nix".*; there are: demo/);
  });

  test('what nobody can read is denied with its reason, and steers no terminal', async () => {
    const { code, out } = await of('explain', ...asAda, `SELEC \u001b[2J${bidi}`);
    assert.equal(code, 5);
    assert.match(out, /It cannot be judged: it is no SQL\n {2}syntax error at or near "SELEC", at character 1/); // prettier-ignore
    assert.doesNotMatch(out, /[^\P{C}\n]/u);
    const long = await of('explain', ...asAda, `SELECT '${'\u0001'.repeat(100_000)}'`);
    assert.equal(long.code, 0);
  });

  test('a replay says what recorded requests would get under other policies, and changes nothing', async () => {
    const same = await of('replay', instance.config, '--session', session);
    assert.match(same.out, /^5 requests, 5 as before\n/);
    const { code, out } = await of('replay', stricter, '--since', '1h');
    assert.equal(code, 0);
    assert.match(out, /^5 requests, 2 as before\n/);
    assert.match(out, /^2 +\| allowed \| denied +\| AuditPolicy\/local\/shop, rule no-orders \(rule\)$/m); // prettier-ignore
    assert.match(
      out,
      /^1 +\| denied +\| allowed +\| AuditPolicy\/local\/shop \(default-action\)$/m,
    );
    assert.match(out, /#\d+ {2}SELECT count\(\*\) FROM orders/);
    assert.match(out, /Assumed: the search_path/);
    const { requests, changes } = JSON.parse((await of('replay', stricter, '--json')).out) as { requests: number; changes: { count: number; examples: unknown[] }[] }; // prettier-ignore
    assert.deepEqual([requests, ...changes.map(({ count, examples }) => [count, examples.length])], [5, [2, 1], [1, 1]]); // prettier-ignore
    const later = await of('replay', stricter, '--until', '1d');
    assert.match(later.out, /^0 requests/);
  });

  test('a recorded session becomes expectations, which other policies may not meet', async () => {
    const { out } = await of('sessions', 'show', session, '--as-expectation');
    assert.doesNotMatch(out, /[^\P{C}\n]/u);
    const expected = parse(out) as { text: string; want: string; rule?: string }[];
    assert.deepEqual(
      expected.map(({ text, want, rule }) => [text, want, rule]),
      [
        ['SELECT count(*) FROM orders', 'Allow', undefined],
        ['SELECT count(*) FROM orders', 'Allow', undefined],
        ['SELECT name FROM products WHERE price > $1', 'Allow', undefined],
        [`SELECT '${bidi}\u001b[2J' AS hostile`, 'Allow', undefined],
        ['SELECT ssn FROM customers WHERE id = $1', 'Deny', 'no-customers'],
      ],
    );
    const file = join(stricter, 'expected');
    writeFileSync(file, out);
    const met = await of('replay', instance.config, '--expect', file);
    assert.deepEqual([met.code, met.out, met.error], [0, '5 expectations, all as wanted\n', '']);
    const missed = await of('replay', stricter, '--expect', file);
    assert.equal(missed.code, 1);
    assert.match(missed.out, /^1\. SELECT count.*\n {3}want Allow\n {3}got {2}Deny by AuditPolicy\/local\/shop, rule no-orders/); // prettier-ignore
    assert.match(missed.out, /5\. SELECT ssn.*\n {3}want Deny by rule no-customers\n {3}got {2}Allow by/); // prettier-ignore
    assert.match(missed.out, /5 expectations, 3 not as wanted\n$/);
  });

  test('a suggestion allows what was allowed, and says what it leaves out', async () => {
    const { code, out, error } = await of('suggest', '--principal', 'ada', '--since', '1d');
    assert.equal(code, 0);
    assert.match(error, /^1 left out: they were denied$/m);
    const [document] = parseAllDocuments(out);
    const { resource } = parseResource(document?.toJS());
    assert.equal(resource?.kind, 'AuditPolicy');
    assert.match(out, /name: allow-1 # seen 4 times/);
    assert.match(out, /public\.orders.*# 2/);
    assert.doesNotMatch(out, /customers/);
    const nobody = await of('suggest', '--principal', 'nobody');
    assert.equal(nobody.out, '# nothing was seen that a rule could allow\n');
  });
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { checkExpression, Effort, parseCondition } from '#core/policy/expression.ts';
import { harmlessFunctions } from '#core/policy/harmless-functions.ts';
import { parseResource } from '#core/policy/parse.ts';
import { fieldNames, operationTerms } from '#core/policy/vocabulary.ts';
import { projectDirectory } from '../cli/instance.ts';
import { unsupported } from './crds/samples.ts';
import { readDefinition, walk, type Schema } from './crds/schema.ts';
import { valuesOf } from './crds/mutants.ts';
import { ada, statement, table, workload } from './support/policies.ts';
import { surveyText } from './support/survey-notation.ts';

const text = readFileSync(join(projectDirectory, 'docs/policies.md'), 'utf8');
const blocks = Array.from(text.matchAll(/^```yaml\n([^]*?)^```$/gm), ([, block = '']) => block);

function sectionOf(heading: string): string {
  const [, section] = text.split(`\n## ${heading}\n`);
  assert.ok(section, heading);
  return section.split('\n## ', 1)[0] ?? '';
}

function rowsOf(section: string): string[][] {
  return Array.from(section.matchAll(/^\| (`.*) \|$/gm), ([, row = '']) =>
    row.split(' | ').map((cell) => cell.trim()),
  );
}

function specOf(plural: string): Schema {
  const { properties } = readDefinition(plural).spec.versions[0].schema.openAPIV3Schema;
  assert.ok(properties?.['spec']);
  return properties['spec'];
}

/** Fields of `spec` by path, without those within a field that is not applied. */
function fieldsOf(plural: string): Map<string, Schema> {
  const later = unsupported.filter((entry) => entry.plural === plural).map(({ field }) => field);
  return new Map(
    [...walk(specOf(plural), 'spec')]
      .filter(([path]) => /[^\]}]$/.test(path) && path !== 'spec')
      .filter(([path]) => !later.some((field) => /^[.[]/.test(path.replace(field, ''))))
      .map(([path, schema]) => [path.slice('spec.'.length), schema]),
  );
}

const kinds: readonly (readonly [heading: string, plural: string])[] = [
  ['Backend', 'backends'],
  ['IdentityProvider', 'identityproviders'],
  ['AuditPolicy and ClusterAuditPolicy', 'auditpolicies'],
];

describe('the document of policies', () => {
  test('has examples that are read as they stand', () => {
    assert.ok(blocks.length >= 5);
    for (const block of blocks)
      assert.equal(parseResource(parse(block)).problems, undefined, block);
  });

  test('has each field in an example', () => {
    const used = new Set(
      blocks.flatMap((block) => {
        const { kind, spec } = parse(block) as { kind: string; spec: unknown };
        return [...valuesOf(spec, `${kind.replace('Cluster', '')}:`)].map(([path]) => path);
      }),
    );
    const later = new Set(unsupported.map(({ field }) => field));
    for (const [heading, plural] of kinds) {
      const kind = heading.split(' ', 1)[0] ?? '';
      for (const path of fieldsOf(plural).keys()) {
        const isLater = later.has(`spec.${path}`);
        const isUsed = used.has(`${kind}:.${path}`);
        assert.ok(isUsed || (isLater && path !== 'protocol'), `${kind} ${path}`);
      }
    }
  });

  for (const [heading, plural] of kinds) {
    test(`lists the fields of ${heading} with their defaults, values and what is not applied`, () => {
      const described = new Map(
        [...fieldsOf(plural)].filter(([path]) => !path.startsWith('rules[].backendSelector.')),
      );
      const rows = rowsOf(sectionOf(heading));
      assert.deepEqual(
        rows.map(([name = '']) => name.replaceAll('`', '')).sort(),
        [...described.keys()].sort(),
      );
      const required = requiredFields(specOf(plural), '');
      for (const [name = '', value = '', wants = '', what = ''] of rows) {
        const path = name.replaceAll('`', '');
        const schema = described.get(path);
        const written = [schema?.default]
          .flat()
          .filter((one) => typeof one === 'string' || typeof one === 'number')
          .map((one) => `\`${one}\``);
        assert.equal(value, required.has(path) ? 'required' : written.join(', '), path);
        for (const word of (schema?.items ?? schema)?.enum ?? [])
          assert.ok(wants.includes(`\`${String(word)}\``), `${path}: ${String(word)}`);
        for (const bound of [schema?.maximum, schema?.maxLength, schema?.maxItems])
          if (bound !== undefined && !/a name|a DNS label|a duration/.test(wants))
            assert.match(wants, new RegExp(`\\b${bound}\\b`), path);
        const isLater =
          unsupported.some(({ field }) => field === `spec.${path}`) && schema?.enum === undefined;
        assert.equal(what.startsWith('Not applied yet'), isLater, path);
      }
    });
  }

  test('names what conditions may speak of, and nothing else', () => {
    const variables = rowsOf(sectionOf('Conditions'));
    const named = variables.map(([name = '']) => name.replaceAll('`', ''));
    for (const name of named) {
      const [list, field] = name.split('[].');
      const asked = name.includes('.') ? `has(${name})` : `${name} == ""`;
      const expression = field === undefined ? asked : `${list}.exists(x, has(x.${field}))`;
      assert.equal(checkExpression(expression), undefined, expression);
    }
    const fields = named.filter((name) => name.includes('.')).map((name) => name.split('.').at(-1));
    assert.deepEqual(new Set(fields), new Set(fieldNames));
  });

  test('has conditions that are none of them mistaken', () => {
    const conditions = Array.from(
      text.matchAll(/^- [^`]*: `(.*)`$/gm),
      ([, condition = '']) => condition,
    );
    assert.ok(conditions.length >= 5);
    for (const condition of conditions)
      assert.equal(checkExpression(condition), undefined, condition);
  });

  test('names functions that have to be named', () => {
    for (const name of ['pg_sleep', 'pg_read_file', 'nextval', 'set_config'])
      assert.ok(text.includes(`\`${name}\``) && !harmlessFunctions.has(name), name);
  });
});

function requiredFields(schema: Schema, prefix: string): ReadonlySet<string> {
  const required = new Set<string>();
  for (const [path, { required: names = [] }] of walk(schema, prefix)) {
    const at = path === '' ? '' : `${path}.`;
    for (const name of names) required.add(at + name);
  }
  return required;
}

/** What a condition of the document says of a text, by what the grammar shows of it. */
function holds(condition: string, text: string): unknown {
  const [shown] = surveyText(text).statements;
  assert.ok(shown, text);
  const { commands, hasWhere, limit, relations } = shown;
  const tables = relations.map(({ name, access, columns }) => table(name, access, { columns }));
  const terms = operationTerms(
    { backend: 'shop', who: ada, workload },
    statement({ commands, hasWhere, limit, tables }),
  );
  const { expression } = parseCondition(condition);
  const { value, error } = expression?.over(terms, new Effort()) ?? { error: 'no expression' };
  assert.equal(error, undefined, text);
  return value;
}

const documented: readonly (readonly [
  title: string,
  is: readonly string[],
  isNot: readonly string[],
])[] = [
  [
    'A change that no WHERE limits',
    [
      'DELETE FROM t',
      'UPDATE t SET a = 1',
      'WITH d AS (DELETE FROM t RETURNING 1) SELECT',
      'WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d WHERE a > 1',
      'WITH d AS (UPDATE t SET a = 1 RETURNING a) INSERT INTO u SELECT a FROM d',
      'EXPLAIN ANALYZE DELETE FROM t',
      'COPY (DELETE FROM t RETURNING a) TO STDOUT',
      'PREPARE d AS DELETE FROM t',
      'INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2',
      'MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE',
    ],
    [
      'DELETE FROM t WHERE a = 1',
      'EXPLAIN ANALYZE UPDATE t SET a = 1 WHERE a = 2',
      'SELECT a FROM t',
      'INSERT INTO t VALUES (1)',
      'TRUNCATE t',
      'SHOW datestyle',
    ],
  ],
  [
    'A column',
    [
      'SELECT email FROM customers',
      'EXPLAIN ANALYZE SELECT * FROM customers',
      'WITH c AS (SELECT email FROM customers) SELECT',
    ],
    ['SELECT city FROM customers', 'SELECT email FROM others'],
  ],
  [
    'More than a thousand rows',
    ['SELECT', 'SELECT a FROM t LIMIT 1001', 'SELECT a FROM t LIMIT $1'],
    ['SELECT a FROM t LIMIT 1000'],
  ],
];

describe('of the conditions that the document of policies gives', () => {
  const section = sectionOf('Conditions');
  for (const [title, is, isNot] of documented)
    test(`"${title}" means what it says`, () => {
      const [, condition] = new RegExp(`^- ${title}[^:]*: \`(.*)\`$`, 'm').exec(section) ?? [];
      assert.ok(condition, title);
      assert.deepEqual(
        is.filter((each) => holds(condition, each) !== true),
        [],
      );
      assert.deepEqual(
        isNot.filter((each) => holds(condition, each) !== false),
        [],
      );
    });
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import type { StatementFacts } from '#core/facts.ts';
import type { Principal, Workload } from '#core/identity/principal.ts';
import { compilePolicies } from '#core/policy/compile.ts';
import { decide } from '#core/policy/decide.ts';
import { resolve, type Bundle } from '#core/policy/resolve.ts';
import { surveyTree } from '#core/postgres/sql/survey-tree.ts';
import type { RelationUse, StatementSurvey } from '#core/postgres/sql/survey.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { parseResourceFiles, readResourceFiles } from '../../sidecar/resource-files.ts';
import { exampleCases, type ExampleCase } from './cases.ts';

const directory = join(projectDirectory, 'examples/policies');
const { files } = await readResourceFiles(directory);
const surroundings = ['backend.yaml', 'identity-provider.yaml'].map((name) => {
  const file = join(projectDirectory, 'examples/local', name);
  return { file, text: readFileSync(file, 'utf8') };
});

const pod = (namespace: string, serviceAccount: string): Workload => ({
  pod: serviceAccount,
  namespace,
  serviceAccount,
  labels: new Map([['app', 'local']]),
});
const token = (user: string, ...groups: string[]): Principal => ({
  kind: 'token',
  provider: 'demo',
  issuer: 'http://issuer.local',
  user,
  groups,
  expiresAt: 0,
});
const askers: Readonly<Record<ExampleCase['who'], { who: Principal; workload: Workload }>> = {
  analyst: { who: token('ada', 'analysts'), workload: pod('local', 'local') },
  stranger: { who: token('eve', 'visitors'), workload: pod('local', 'local') },
  migrator: {
    who: { kind: 'workload', user: 'system:serviceaccount:ci:migrator' },
    workload: pod('ci', 'migrator'),
  },
};

/** What a pod gets with some examples beside the demo's own Backend and IdentityProvider. */
function bundleOf(names: readonly string[], workload: Workload): Bundle {
  const examples = files.filter(({ file }) => names.includes(basename(file)));
  const { resources, problems } = parseResourceFiles([...examples, ...surroundings]);
  assert.deepEqual(problems, []);
  const { bundle, problems: conflicts } = resolve(
    resources.map(({ resource }) => resource),
    workload,
    new Map([['shop-credential', 'Password']]),
  );
  assert.ok(bundle?.policy, JSON.stringify(conflicts));
  return bundle;
}

function verdictOf(
  names: readonly string[],
  { who, facts }: Pick<ExampleCase, 'who'> & { readonly facts?: StatementFacts },
): RecordedVerdict {
  const { who: principal, workload } = askers[who];
  const compiled = compilePolicies(bundleOf(names, workload));
  const asker = { backend: 'shop', who: principal, workload };
  return decide(compiled, asker, { protocol: 'Postgres', statements: facts ? [facts] : [] })
    .recorded;
}

function pick({ hasWhere, limit, copy, settings, readOnly }: StatementSurvey | StatementFacts) {
  return { hasWhere, limit, copy, settings, readOnly };
}

function tableText({ name, access, columns }: Pick<RelationUse, 'name' | 'access' | 'columns'>) {
  return `${name} ${access} ${columns.toSorted().join()}`;
}

const names = [...new Set(exampleCases.map(({ file }) => file))].sort();

describe('the example policies', () => {
  test('are there, each with a comment that says what it is for', () => {
    assert.deepEqual(
      files.map(({ file }) => file),
      names.map((name) => join(directory, name)),
    );
    for (const { file, text } of files) assert.match(text, /^# [A-Z].*\n# .*\n/, file);
  });

  test('are named as their files are', () => {
    const { resources } = parseResourceFiles(files);
    for (const [index, { resource }] of resources.entries())
      assert.equal(join(directory, `${resource.metadata.name}.yaml`), files[index]?.file);
  });

  test('are tried on facts that the grammar shows of the texts', async () => {
    await loadModule();
    for (const { text, facts } of exampleCases) {
      const [shown, ...others] = surveyTree(parseSync(text)).statements;
      assert.ok(shown && others.length === 0, text);
      const written = facts.tables.filter(({ through }) => through === undefined);
      assert.deepEqual(
        {
          commands: shown.commands,
          tables: shown.relations.map(tableText).sort(),
          functions: shown.functions.map(({ name }) => name),
          ...pick(shown),
        },
        {
          commands: facts.commands,
          tables: written.map(tableText).sort(),
          functions: facts.functions.map(({ name }) => name),
          ...pick(facts),
        },
        text,
      );
      // EXECUTE of what nobody prepared is opaque because of its session, which the grammar does not know.
      assert.equal(shown.isOpaque || shown.executes !== undefined, facts.isOpaque, text);
    }
  });

  for (const example of exampleCases) {
    const { file, who, text, action, reason, rule } = example;
    test(`${file}: ${text} by ${who} is ${action}, ${reason}`, () => {
      const verdict = verdictOf([file], example);
      assert.deepEqual([verdict.action, verdict.reason, verdict.rule], [action, reason, rule]);
    });
  }

  for (const file of names)
    test(`${file}: a text without a statement, as pools send it to see who is there, passes`, () => {
      assert.equal(verdictOf([file], { who: 'analyst' }).action, 'Allow');
    });

  test('go together: what one of them denies, they deny', () => {
    for (const example of exampleCases) {
      if (example.who === 'analyst' && example.action === 'Deny' && example.reason === 'rule')
        assert.equal(verdictOf(names, example).action, 'Deny', example.text);
    }
  });
});

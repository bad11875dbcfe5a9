import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseResource } from '#core/policy/parse.ts';
import type { Problem } from '#core/policy/resources.ts';
import { noLimits, type Rule } from '#core/policy/rules.ts';

type Fields = Readonly<Record<string, unknown>>;

const rule = { name: 'r', backends: ['shop'], anySubject: true, action: 'Allow' };
const approval = { groups: ['dba'], timeout: '30m' };
const token = { provider: 'idp', users: ['ada'] };

function policyWith(spec: Fields): object {
  return {
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'AuditPolicy',
    metadata: { name: 'p', namespace: 'local' },
    spec: { podSelector: {}, ...spec },
  };
}

function specOf(spec: Fields) {
  const { resource, problems } = parseResource(policyWith(spec));
  assert.ok(resource && 'rules' in resource.spec, JSON.stringify(problems));
  return resource.spec;
}

function ruleOf(fields: Fields): Rule {
  const [found] = specOf({ rules: [{ ...rule, ...fields }] }).rules;
  assert.ok(found);
  return found;
}

function problemsOf(fields: Fields): readonly Problem[] {
  return parseResource(policyWith({ rules: [{ ...rule, ...fields }] })).problems ?? [];
}

describe('a rule', () => {
  test('is read with its defaults', () => {
    assert.deepEqual(ruleOf({}), {
      name: 'r',
      where: { kind: 'backends', names: ['shop'] },
      subjects: 'Anybody',
      postgres: undefined,
      when: undefined,
      action: 'Allow',
      message: undefined,
      approval: undefined,
    });
  });

  test('is read with everything that it can have', () => {
    const read = ruleOf({
      backends: undefined,
      backendSelector: { matchLabels: { tier: 'prod' } },
      anySubject: undefined,
      subjects: [token, { serviceAccounts: [{ name: 'ci' }] }],
      postgres: {
        commands: ['SELECT', 'CREATE TABLE', '*'],
        tables: [{ name: 'public.*' }, { name: '"Odd ""name"""', access: ['Read'] }],
        functions: ['pg_sleep', 'pg_catalog.*'],
        readOnly: true,
      },
      when: 'statement.hasWhere',
      action: 'RequireApproval',
      message: 'Ask the DBAs.\nThey answer.',
      approval,
    });
    assert.deepEqual(read.where, {
      kind: 'backendSelector',
      selector: { matchLabels: new Map([['tier', 'prod']]), matchExpressions: [] },
    });
    assert.deepEqual(read.subjects, [
      { kind: 'token', provider: 'idp', users: ['ada'], groups: [] },
      { kind: 'workload', serviceAccounts: [{ namespace: 'local', name: 'ci' }] },
    ]);
    assert.deepEqual(read.postgres?.tables, [
      { name: 'public.*', access: ['Read', 'Write', 'Define'] },
      { name: '"Odd ""name"""', access: ['Read'] },
    ]);
    assert.deepEqual(read.approval, {
      groups: ['dba'],
      count: 1,
      timeoutMs: 1_800_000,
      scope: 'Once',
      inTransaction: 'Hold',
    });
  });

  test('denies by the words that several commands begin with, and allows by whole ones', () => {
    const commands = ['DROP', 'ALTER', 'COPY', 'TRUNCATE TABLE'];
    assert.deepEqual(
      ruleOf({ action: 'Deny', postgres: { commands } }).postgres?.commands,
      commands,
    );
    assert.equal(problemsOf({ action: 'Allow', postgres: { commands } }).length, 3);
    assert.equal(problemsOf({ action: 'Deny', postgres: { commands: ['DRO', 'drop'] } }).length, 2);
  });

  test('names hosts, and what is below one', () => {
    const hosts = ['db.example.com', '*.example.com', 'fd10::1'];
    const { where } = ruleOf({ backends: undefined, hosts });
    assert.deepEqual(where, { kind: 'hosts', names: hosts });
  });

  test('of the cluster says which namespace an account is of', () => {
    const account = { subjects: [{ serviceAccounts: [{ name: 'ci' }] }], anySubject: undefined };
    const clusterPolicy = {
      ...policyWith({ rules: [{ ...rule, ...account }] }),
      kind: 'ClusterAuditPolicy',
      metadata: { name: 'p' },
    };
    assert.deepEqual(parseResource(clusterPolicy).problems, [
      { path: 'spec.rules[0].subjects[0].serviceAccounts[0].namespace', message: 'missing' },
    ]);
  });

  const wrong: [fields: Fields, path: string, message: RegExp][] = [
    [{ name: 'A' }, 'name', /RFC 1123/],
    [{ name: undefined }, 'name', /missing/],
    [{ backends: undefined }, 'backends', /missing: want one of/],
    [{ hosts: ['db'] }, 'hosts', /backends is there/],
    [{ backendSelector: {}, hosts: ['db'] }, 'hosts', /backends is there/],
    [{ backends: [] }, 'backends', /at least 1/],
    [{ backends: ['shop', 'shop'] }, 'backends[1]', /stands twice/],
    [{ backends: undefined, hosts: ['*'] }, 'hosts[0]', /a host name/],
    [{ backends: undefined, hosts: ['a.*.b'] }, 'hosts[0]', /a host name/],
    [{ anySubject: undefined }, 'subjects', /missing: want one of/],
    [{ anySubject: false }, 'anySubject', /want true/],
    [{ subjects: [token] }, 'anySubject', /subjects is there/],
    [{ anySubject: undefined, subjects: [] }, 'subjects', /at least 1/],
    [{ anySubject: undefined, subjects: [{}] }, 'subjects[0].provider', /missing/],
    [{ anySubject: undefined, subjects: [{ provider: 'idp' }] }, 'subjects[0].users', /missing/],
    [{ anySubject: undefined, subjects: [{ ...token, users: [] }] }, 'subjects[0].users', /at least 1/],
    [{ anySubject: undefined, subjects: [{ ...token, serviceAccounts: [{ name: 'a' }] }] }, 'subjects[0].provider', /no token/],
    [{ anySubject: undefined, subjects: [{ serviceAccounts: [{ name: 'a', namespace: 'other' }] }] }, 'subjects[0].serviceAccounts[0].namespace', /own/],
    [{ http: { paths: ['/'] } }, 'http', /unsupported/],
    [{ mcp: {} }, 'mcp', /unsupported/],
    [{ ssh: {} }, 'ssh', /unsupported/],
    [{ postgres: { commands: [] } }, 'postgres.commands', /at least 1/],
    [{ postgres: { commands: ['select'] } }, 'postgres.commands[0]', /did you mean SELECT\?/],
    [{ postgres: { commands: ['DROP'] } }, 'postgres.commands[0]', /did you mean DROP ACCESS METHOD/],
    [{ postgres: { commands: ['COPY'] } }, 'postgres.commands[0]', /did you mean COPY FROM, COPY TO\?/],
    [{ postgres: { commands: ['TRUNCATE'] } }, 'postgres.commands[0]', /did you mean TRUNCATE TABLE\?/],
    [{ postgres: { commands: ['SELECT INTO x'] } }, 'postgres.commands[0]', /did you mean SELECT/],
    [{ postgres: { commands: ['FROB'] } }, 'postgres.commands[0]', /such as SELECT or CREATE TABLE, or \*$/],
    [{ postgres: { commands: ['x'.repeat(1_000_000)] } }, 'postgres.commands[0]', /^.{1,200}$/],
    [{ postgres: { tables: [{ name: 'Orders' }] } }, 'postgres.tables[0].name', /lower case or double quotes/],
    [{ postgres: { tables: [{ name: 'a.b.c' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: '*.a' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: 'a*' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: '"a' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: 'a\0' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: '"a\0"' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: '""' }] } }, 'postgres.tables[0].name', /"schema\.name"/],
    [{ postgres: { tables: [{ name: 'a' }, { name: 'a' }] } }, 'postgres.tables[1].name', /stands twice/],
    [{ postgres: { tables: [{ name: 'a', access: ['read'] }] } }, 'postgres.tables[0].access[0]', /one of Read/],
    [{ postgres: { functions: ['f()'] , tables: 1 } }, 'postgres.tables', /a list/],
    [{ postgres: { readOnly: 'yes' } }, 'postgres.readOnly', /true or false/],
    [{ postgres: { schemas: ['a'] } }, 'postgres.schemas', /unknown field/],
    [{ when: 'statement.' }, 'when', /./],
    [{ when: '' }, 'when', /CEL/],
    [{ when: 'x'.repeat(2_049) }, 'when', /at most 2048/],
    [{ action: 'Ask' }, 'action', /one of Allow, Deny, RequireApproval/],
    [{ message: 'a\u001b[2J' }, 'message', /control characters/],
    [{ message: 'x'.repeat(1_025) }, 'message', /at most 1024/],
    [{ action: 'RequireApproval' }, 'approval', /missing/],
    [{ approval }, 'approval', /Allow asks nobody/],
    [{ action: 'RequireApproval', approval: { ...approval, groups: [] } }, 'approval.groups', /at least 1/],
    [{ action: 'RequireApproval', approval: { ...approval, count: 0 } }, 'approval.count', /integer/],
    [{ action: 'RequireApproval', approval: { ...approval, timeout: '25h' } }, 'approval.timeout', /duration/],
    [{ action: 'RequireApproval', approval: { groups: ['a'] } }, 'approval.timeout', /missing/],
  ]; // prettier-ignore
  for (const [fields, path, message] of wrong) {
    test(`refuses ${JSON.stringify(fields).slice(0, 90)}`, () => {
      const problems = problemsOf(fields);
      assert.ok(
        problems.some(
          (problem) => problem.path === `spec.rules[0].${path}` && message.test(problem.message),
        ),
        JSON.stringify(problems),
      );
    });
  }

  test('has a name of its own', () => {
    const { problems } = parseResource(policyWith({ rules: [rule, rule] }));
    assert.deepEqual(problems, [{ path: 'spec.rules[1].name', message: '"r" stands twice' }]);
  });

  test('is one of at most 64', () => {
    const rules = Array.from({ length: 65 }, (_, index) => ({ ...rule, name: `r${index}` }));
    assert.equal(specOf({ rules: rules.slice(1) }).rules.length, 64);
    assert.match(parseResource(policyWith({ rules })).problems?.[0]?.message ?? '', /at most 64/);
  });

  test('is not waited for long when it is huge, nested, or contains itself', () => {
    const loop: unknown[] = [];
    loop.push({ name: 'a', rules: loop, postgres: loop, subjects: loop });
    let deep: object = {};
    for (let depth = 0; depth < 100_000; depth += 1) deep = { matchLabels: deep };
    const long = Array.from({ length: 100_000 }, (_, index) => `x${index}`);
    const huge = [
      { backends: long },
      { backendSelector: deep },
      { postgres: { commands: long, tables: long, functions: long } },
      { postgres: { tables: [{ name: '"'.repeat(1_000_000) }] } },
      { when: '('.repeat(1_000_000) },
      { approval: loop, subjects: loop },
    ];
    for (const fields of huge) {
      const problems = problemsOf(fields);
      assert.ok(problems.length > 0 && problems.length < 20, JSON.stringify(problems.length));
      assert.ok(JSON.stringify(problems).length < 10_000);
    }
    assert.ok(parseResource(policyWith({ rules: loop })).problems);
  });

  test('says all its mistakes at once', () => {
    const paths = problemsOf({ name: 'A', action: 'Ask', postgres: { commands: [1] } }).map(
      ({ path }) => path,
    );
    assert.deepEqual(paths, [
      'spec.rules[0].action',
      'spec.rules[0].name',
      'spec.rules[0].postgres.commands[0]',
    ]);
  });
});

describe('what goes with the rules of a policy', () => {
  test('follows its mode where it is not set', () => {
    assert.equal(specOf({}).unknownHosts, 'Record');
    assert.equal(specOf({ mode: 'Enforce' }).unknownHosts, 'Deny');
    assert.equal(specOf({ mode: 'Enforce', unknownHosts: 'Record' }).unknownHosts, 'Record');
  });

  test('has no limits that are not set', () => {
    assert.deepEqual(specOf({}).limits, noLimits);
    assert.deepEqual(specOf({ limits: { idle: '1h30m', rowsPerHour: 2 ** 50 } }).limits, {
      ...noLimits,
      idleMs: 5_400_000,
      rowsPerHour: 2 ** 50,
    });
  });

  test('names inbound ports, and none without', () => {
    assert.deepEqual(specOf({}).inboundPorts, []);
    assert.deepEqual(specOf({ inbound: { ports: [8080] } }).inboundPorts, [8080]);
  });
});

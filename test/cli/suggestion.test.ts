import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { parseResource } from '#core/policy/parse.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { suggest, type Seen } from '#core/policy/suggest.ts';
import { commandTags } from '#core/postgres/sql/command-tags.ts';
import { suggestionYaml } from '../../cli/suggestion-yaml.ts';
import { yamlLine } from '../../cli/yaml-words.ts';
import { ada, agent, factsOf, harmless, relation, statement, table, verdictOf, workload } from '../support/policies.ts'; // prettier-ignore
import { Random, scaled } from '../support/random.ts';

/** Names that YAML, the parser of rules or a terminal could take for something else. */
const names = ['orders', 'Orders', 'a b', 'x"y', 'a.b', '*', '"', '#x', "it's", 'ü', 'null', 'on', '1', '- x', 'a: b', '{', '&a', '!x', '%', '\u001b[2J', '\u202e', '😀', 'line\nbreak', '\u0085', ' ', '~']; // prettier-ignore
const users = ['ada', 'a@example.com', 'null', '007', 'x: y', '#', 'ü', '\u202e', "o'hara", 'yes'];

/** As the parser reads it, but enforcing. */
function enforcedFrom(yaml: string): AuditPolicy[] {
  return parseAllDocuments(yaml).map((document) => {
    assert.deepEqual(document.errors, []);
    const { resource, problems } = parseResource(document.toJS());
    assert.deepEqual(problems, undefined);
    if (resource?.kind !== 'AuditPolicy') throw new Error('want a policy');
    return { ...resource, spec: { ...resource.spec, mode: 'Enforce' } };
  });
}

describe('suggested policies in YAML', () => {
  test('parse as policies and, once they enforce, allow all that was seen', () => {
    const random = new Random(7);
    const tags = [...commandTags];
    const relationOf = () => {
      const name = random.pick(names);
      const schema = random.pick(['', 'public', ...names.filter((each) => each !== '*')]);
      return { schema: schema === '' ? undefined : schema, name };
    };
    const made = () =>
      statement({
        commands: [random.pick(tags)],
        tables: Array.from({ length: random.below(4) }, () => ({ ...table('t', random.pick(['Read', 'Write', 'Define'])), ...relationOf() })), // prettier-ignore
        functions: [harmless, relationOf()].slice(random.below(3)),
        isOpaque: random.below(5) === 0,
      });
    for (let round = 0; round < scaled(2_000); round += 1) {
      const all = Array.from({ length: 1 + random.below(6) }, (): Seen => ({
        facts: random.below(20) === 0 ? { protocol: 'TCP' } : factsOf(made()),
        who: random.pick([agent, { ...ada, user: random.pick(users) }]),
        workload,
        backend: 'shop',
        count: 1 + random.below(3),
      })); // prettier-ignore
      const yaml = suggestionYaml(suggest(all));
      assert.doesNotMatch(yaml, /[^\P{C}\n]/u, 'nothing steers a terminal');
      const policies = enforcedFrom(yaml);
      for (const { facts, who } of all)
        assert.equal(verdictOf(policies, facts, { who }).action, 'Allow', yaml);
    }
  });

  test('say as comments how often each thing was seen', () => {
    const facts = factsOf(statement({ tables: [table('public.orders')], functions: [relation('public.pay')] })); // prettier-ignore
    const seen: Seen = { facts, who: agent, workload, backend: 'shop', count: 3 };
    const yaml = suggestionYaml(suggest([seen, { ...seen, count: 2 }]));
    for (const line of [/allow-1 # seen 5 times/, /- SELECT # 5/, /public\.orders.* # 5/, /public\.pay # 5/]) assert.match(yaml, line); // prettier-ignore
  });

  test('are nothing where nothing was seen', () => {
    assert.equal(suggestionYaml(suggest([])), '');
  });
});

test('a text in YAML reads back as it was, and is quoted where it needs to be', () => {
  for (const text of [...names, ...users, '', 'SELECT 1', 'a#b', 'a #b', '=', '1e3', '0x1', '.inf', '2026-01-01', 'a\tb', '[x]', 'TRUE', 'No']) // prettier-ignore
    assert.deepEqual(parse(`- key: ${yamlLine([text, { [text]: text }])}`), [{ key: [text, { [text]: text }] }]); // prettier-ignore
});

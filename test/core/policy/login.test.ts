import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { settingsFor } from '#core/policy/login.ts';
import { ada, agent } from '../../support/policies.ts';

describe('settings of a login', () => {
  const one = (value: string, who = ada) => settingsFor([{ name: 'app.user', value }], who);

  test('have values over the principal', () => {
    const { settings } = settingsFor(
      [
        { name: 'app.user', value: 'principal.user' },
        { name: 'app.groups', value: 'principal.groups.join(",")' },
        { name: 'app.kind', value: 'principal.kind + "!"' },
      ],
      ada,
    );
    assert.deepEqual([...(settings ?? [])], [['app.user', 'ada'], ['app.groups', 'analysts,all'], ['app.kind', 'token!']]); // prettier-ignore
    const { settings: own } = settingsFor([{ name: 'a', value: 'principal.user' }], agent);
    assert.deepEqual([...(own ?? [])], [['a', agent.user]]);
  });

  test('are none at all where one cannot be worked out', () => {
    const good = { name: 'good', value: '"x"' };
    for (const value of ['principal.onBehalfOf', 'principal.groups[9]', 'nonsense', '1']) {
      const result = settingsFor([good, { name: 'bad', value }], ada);
      assert.equal(result.settings, undefined);
      assert.match(result.problem ?? '', /^the setting bad: /);
    }
  });

  test('hold no NUL and nothing endless, whatever a token says', () => {
    assert.match(one('principal.user', { ...ada, user: 'a\0b' }).problem ?? '', /without NUL/);
    assert.match(one('principal.user', { ...ada, user: 'a'.repeat(5_000) }).problem ?? '', /4096/);
  });

  test('say nothing of the principal in their problem', () => {
    const { problem } = one('string(int(principal.user))', { ...ada, user: 'topsecret' });
    assert.doesNotMatch(problem ?? '', /topsecret/);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseResource } from '#core/policy/parse.ts';

describe('settings of a backend', () => {
  const settingsOf = (postgres: object) =>
    parseResource({
      apiVersion: 'chaperone.dev/v1alpha1',
      kind: 'Backend',
      metadata: { name: 'shop', labels: { tier: 'prod' } },
      spec: {
        protocol: 'Postgres',
        hosts: ['shop-db'],
        ports: [5432],
        upstream: { address: 'shop-db:5432', tls: { mode: 'Disable' } },
        consumers: [{ namespace: 'local' }],
        postgres,
      },
    });

  test('are read with the rest of what concerns PostgreSQL', () => {
    const settings = [
      { name: 'statement_timeout', value: '"30s"' },
      { name: 'app.tenant', value: 'principal.user' },
    ];
    const { resource } = settingsOf({ applicationName: 'Session', settings });
    assert.ok(resource?.kind === 'Backend');
    assert.deepEqual(resource.spec.postgres, {
      users: new Map(),
      databases: new Map(),
      applicationName: 'Session',
      settings,
    });
    assert.deepEqual(resource.metadata.labels, new Map([['tier', 'prod']]));
  });

  test('leave an application’s name alone unless asked', () => {
    const { resource } = settingsOf({});
    assert.ok(resource?.kind === 'Backend');
    assert.equal(resource.spec.postgres.applicationName, 'Keep');
  });

  const own = [
    'user', 'database', 'replication', 'options', 'application_name', 'role', 'session_authorization', 'client_encoding',
    'standard_conforming_strings', 'backslash_quote', '_pq_.command_tag',
  ]; // prettier-ignore
  for (const name of [...own, 'Role', 'a b', 'a=b', 'a.b.c', '', 'a\0b']) {
    test(`cannot be called ${JSON.stringify(name)}`, () => {
      const { problems } = settingsOf({ settings: [{ name, value: '"x"' }] });
      assert.deepEqual(
        problems?.map(({ path }) => path),
        ['spec.postgres.settings[0].name'],
      );
    });
  }

  for (const value of [
    '',
    'principal.user ==',
    'principal.usr',
    'principal.groups',
    '1',
    '('.repeat(2_000),
    1,
  ]) {
    test(`cannot be worked out by ${JSON.stringify(value).slice(0, 40)}`, () => {
      const { problems } = settingsOf({ settings: [{ name: 'a', value }] });
      assert.deepEqual(
        problems?.map(({ path }) => path),
        ['spec.postgres.settings[0].value'],
      );
    });
  }

  test('stand once each, and are 16 at most', () => {
    const named = (name: string) => ({ name, value: '"x"' });
    assert.match(
      settingsOf({ settings: [named('a'), named('a')] }).problems?.[0]?.message ?? '',
      /stands twice/,
    );
    const many = Array.from({ length: 17 }, (_, index) => named(`a${index}`));
    assert.match(settingsOf({ settings: many }).problems?.[0]?.message ?? '', /at most 16/);
  });
});

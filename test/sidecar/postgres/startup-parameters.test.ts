import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startupParameters } from '../../../sidecar/postgres/startup-parameters.ts';

const names = { users: new Map([['app', 'app_db']]), databases: new Map([['shop', 'shop_1']]) };
const pinned = new Map([['app.agent', 'alice']]);

function parameters(asked: Readonly<Record<string, string>>): Record<string, string> {
  const wishes = new Map(Object.entries(asked));
  return Object.fromEntries(startupParameters({ asked: wishes, names, username: 'login', pinned }));
}

describe('startupParameters', () => {
  test('maps names, and sets what is pinned', () => {
    assert.deepEqual(parameters({ user: 'app', database: 'shop', datestyle: 'iso' }), {
      user: 'app_db',
      database: 'shop_1',
      datestyle: 'iso',
      'app.agent': 'alice',
    });
  });

  test('takes the login that the gateway holds for any other user, and the user for the database', () => {
    assert.deepEqual(parameters({ user: 'who' }), {
      user: 'login',
      database: 'who',
      'app.agent': 'alice',
    });
  });

  const refused: Readonly<Record<string, string>>[] = [
    { 'app.agent': 'mallory' },
    { 'App.Agent': 'mallory' },
    { options: '-c app.agent=mallory' },
    { options: '-capp.agent=mallory' },
    { options: '--app.agent=mallory' },
    { options: '-c APP.AGENT=mallory' },
    { options: '-c datestyle=iso -c app\\.agent=mallory' },
    { options: '-F' },
  ];
  for (const wish of refused) {
    test(`refuses ${JSON.stringify(wish)}`, () => {
      assert.throws(() => parameters({ user: 'app', ...wish }), { code: 'denied' });
    });
  }

  test('lets an agent choose other settings', () => {
    const options = '-c search_path=a -c app.agents=b';
    assert.equal(parameters({ user: 'app', options })['options'], options);
  });
});

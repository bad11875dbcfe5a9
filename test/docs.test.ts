import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { globSync } from 'node:fs';
import { describe, test } from 'node:test';
import { errorCodes } from '#core/errors.ts';
import { projectDirectory } from '../cli/instance.ts';
import { problemStatus } from '../collector/problem.ts';

const read = (path: string): string => readFileSync(join(projectDirectory, path), 'utf8');

describe('the documentation', () => {
  test('explains each error code with its SQLSTATE, and none that does not exist', () => {
    const rows = Array.from(
      read('docs/errors.md').matchAll(/^\| `([a-z-]+)` +\| ([0-9A-Z]{5}) /gm),
      ([, code, state]) => [code, state],
    );
    const codes = Object.entries(errorCodes).map(([code, { sqlState }]) => [code, sqlState]);
    assert.deepEqual(Object.fromEntries(rows), Object.fromEntries(codes));
  });

  test('explains each refusal of the collector with its status', () => {
    const rows = Array.from(
      read('docs/errors.md').matchAll(/^\| `([a-z-]+)` +\| (\d{3}) /gm),
      ([, code, status]) => [code, Number(status)],
    );
    assert.deepEqual(Object.fromEntries(rows), problemStatus);
  });

  test('names files and functions that exist', () => {
    const text = read('docs/architecture.md');
    for (const [, path = ''] of text.matchAll(
      /`((?:core|sidecar|collector|cli|runtime|test|tools|examples|docs)\/[^`\s]+)`/g,
    )) {
      assert.ok(existsSync(join(projectDirectory, path)), path);
    }
    for (const [, path = '', name = ''] of text.matchAll(
      /`([a-z/-]+\.ts)`[^`\n]*?`#?(\w+)\(\)`/g,
    )) {
      assert.match(read(path), new RegExp(`\\b#?${name}\\b`), `${name} in ${path}`);
    }
  });

  test('has no link that leads nowhere', () => {
    for (const file of ['README.md', ...globSync('docs/**/*.md', { cwd: projectDirectory })]) {
      for (const [, target = ''] of read(file).matchAll(/\]\((?!https?:)([^)#\s]+)/g)) {
        assert.ok(existsSync(join(projectDirectory, dirname(file), target)), `${file}: ${target}`);
      }
    }
  });

  test('lists every dependency, and why it is there', () => {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
      read('package.json'),
    ) as Record<string, Record<string, string>>;
    const text = read('docs/dependencies.md');
    for (const name of Object.keys({
      ...dependencies,
      ...devDependencies,
      ...optionalDependencies,
    })) {
      assert.ok(text.includes(`\`${name}\``), name);
    }
  });
});

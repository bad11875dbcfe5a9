import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

describe('a service', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

  for (const name of ['sidecar', 'collector']) {
    test(`says its version without settings or a supervisor: ${name}`, () => {
      const said = execFileSync(process.execPath, [`${name}/main.ts`, '--version'], {
        env: {},
        encoding: 'utf8',
      });
      assert.equal(said, `chaperone ${name} ${version}\n`);
    });
  }
});

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { projectDirectory } from '../../cli/instance.ts';

const run = promisify(execFile);

describe('the plugin, typed wrongly', () => {
  for (const [args, message] of [
    [['explain'], /needs pod\/NAME/],
    [['explain', '01a22732-76a8-7a59-886e-8ce29c3434ae'], /: kubectl chaperone show 01a22732-76a8/],
    [['explain', 'pod/agent', 'SELECT', '1'], /quote the SQL/],
    [['explain', 'pod/agent', 'SELECT 1'], /SQL needs --backend/],
    [['show'], /needs the id of a session/],
  ] as const)
    test(`says what is wrong with "${args.join(' ')}" in a sentence`, async () => {
      const file = join(projectDirectory, 'cli/kubectl/main.ts');
      await assert.rejects(run(process.execPath, [file, ...args]), (error: object) => {
        assert.ok('code' in error && 'stderr' in error);
        assert.equal(error.code, 2);
        assert.match(String(error.stderr), message);
        return true;
      });
    });
});

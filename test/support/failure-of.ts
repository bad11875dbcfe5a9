import assert from 'node:assert/strict';

/** What a command said that failed; fails itself where it succeeds. */
export async function failureOf(command: Promise<unknown>): Promise<string> {
  return command.then(
    (out) => assert.fail(`it succeeded: ${String(out)}`),
    (error: unknown) => (error instanceof Error ? error.message : 'unknown'),
  );
}

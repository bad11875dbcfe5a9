import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tryParseRequest } from '../../sidecar/admin-request.ts';
import { Random, scaled } from '../support/random.ts';

const who = { kind: 'token', user: 'u', groups: ['g'], provider: 'p', issuer: undefined, onBehalfOf: undefined }; // prettier-ignore
const question = { backend: 'b', database: 'd', text: 'SELECT 1', who };

describe('a request of an operator', () => {
  const valid: [what: string, request: object][] = [
    ['kill', { command: 'kill', session: '01a20f9b-9895' }],
    ['explain', { command: 'explain', question }],
    ['explain of the workload', { command: 'explain', question: { ...question, who: { kind: 'workload' } } }], // prettier-ignore
    ['read', { command: 'read', text: { backend: 'b', text: '', database: undefined } }],
  ];
  for (const [what, request] of valid) {
    test(`to ${what} is read as it was written`, () => {
      assert.deepEqual(tryParseRequest(`${JSON.stringify(request)}\n`), request);
    });
  }

  const invalid: [what: string, request: unknown][] = [
    ['nothing', null],
    ['a list', [{ command: 'kill', session: '01a20f9b' }]],
    ['another command', { command: 'drain' }],
    ['a name that objects have', { command: 'constructor' }],
    ['an id that is too short', { command: 'kill', session: '01a' }],
    ['an explain without a question', { command: 'explain' }],
    ['a text that is a number', { command: 'read', text: { backend: 'b', text: 1 } }],
    ['a database that is an object', { command: 'read', text: { backend: 'b', text: '', database: {} } }],
    ['somebody of another kind', { command: 'explain', question: { ...question, who: { kind: 'root' } } }],
    ['groups that are a text', { command: 'explain', question: { ...question, who: { ...who, groups: 'g' } } }],
    ['groups that are numbers', { command: 'explain', question: { ...question, who: { ...who, groups: [1] } } }],
    ['a provider that is null', { command: 'explain', question: { ...question, who: { ...who, provider: null } } }],
  ]; // prettier-ignore
  for (const [what, request] of invalid) {
    test(`is none when it is ${what}`, () => {
      assert.equal(tryParseRequest(JSON.stringify(request)), undefined);
    });
  }

  test('is none when it is cut short, or has a character too much, and never an exception', () => {
    const line = JSON.stringify({ command: 'explain', question });
    const random = new Random(3);
    for (let end = 0; end < line.length; end += 1)
      assert.equal(tryParseRequest(line.slice(0, end)), undefined);
    for (let round = 0; round < scaled(10_000); round += 1) {
      const at = random.below(line.length);
      tryParseRequest(line.slice(0, at) + random.pick(['"', '{', '}', ',', '\0', '1']) + line.slice(at)); // prettier-ignore
    }
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { notationOf, surveyText } from '../../../support/survey-notation.ts';
import { tables } from './rows/all.ts';

describe('a survey of a text shows', () => {
  for (const [title, rows] of Object.entries(tables))
    test(`${title}, in each of ${rows.length} texts`, () => {
      const shown = rows.map(([text]) => [text, ...surveyText(text).statements.map(notationOf)]);
      assert.deepEqual(shown, rows);
    });

  test('names after a dot, for each may be a function that takes the row', () => {
    const [statement] = surveyText(
      'select t.zap, (t).zip, (f(1)).zop, t.*, bare from s.t',
    ).statements;
    assert.deepEqual(statement?.attributes, ['zap', 'zip', 'zop']);
  });
});

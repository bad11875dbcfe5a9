import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import { surveyTree } from '../../core/postgres/sql/survey-tree.ts';
import { providePostgresTests } from '../support/postgres-source.ts';

/** Opens or closes a quoted body, inside which a semicolon ends nothing. */
const dollarQuote = /\$(?:[A-Za-z_]\w*)?\$/g;

/** Cuts a script of psql into pieces that are statements as a rule; commands of psql itself are left out. */
function* piecesOf(script: string): Generator<string> {
  let piece = '';
  for (const line of script.split('\n')) {
    if (line.startsWith('\\')) continue;
    piece += `${line}\n`;
    const isClosed = (piece.match(dollarQuote) ?? []).length % 2 === 0;
    if (!isClosed || !/;\s*(?:--.*)?$/.test(line)) continue;
    yield piece;
    piece = '';
  }
}

function tryParse(text: string): unknown {
  try {
    return parseSync(text);
  } catch {
    return undefined; // the suite tests errors as well, and its data is between the statements
  }
}

describe("of PostgreSQL's own regression suite", () => {
  let scripts: readonly string[];

  before(async () => {
    await loadModule();
    scripts = globSync(join(providePostgresTests().regress, 'sql/*.sql'));
  });

  test('every statement that parses is surveyed, with a command', () => {
    let surveyed = 0;
    for (const script of scripts)
      for (const piece of piecesOf(readFileSync(script, 'utf8'))) {
        const tree = tryParse(piece);
        if (tree === undefined) continue;
        for (const { commands } of surveyTree(tree).statements) {
          surveyed += 1;
          for (const command of commands)
            assert.match(command, /^[A-Z]+(?: [A-Z]+)*$/, `${basename(script)}: ${piece}`);
        }
      }
    assert.ok(surveyed > 20_000, `${surveyed} statements`);
  });
});

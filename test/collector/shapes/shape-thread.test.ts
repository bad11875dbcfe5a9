import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ShapeThread } from '../../../collector/shapes/shape-thread.ts';

describe('the shape of a text', () => {
  const thread = new ShapeThread();
  after(() => thread.stop());

  test('has parameters in place of all constants, and no comments', async () => {
    const shapes: Readonly<Record<string, string>> = {
      "select * from t where a = 'secret' and b = 12": 'select * from t where a = $1 and b = $2',
      "select /* secret */ U&'secret', B'101', X'ff', $a$secret$a$, 1.5e3, $1 -- secret":
        'select   $2, $3, $4, $5, $6, $1',
      'select "name", t1.c2 from t1 limit 5': 'select "name", t1.c2 from t1 limit $1',
      "insert into t values ('secret'), (E'sec\\nret')": 'insert into t values ($1), ($2)',
      "do $$ begin perform 'secret'; end $$": 'do $1',
      "alter role x password 'secret'": 'alter role x password $1',
      "comment on table t is 'secret'": 'comment on table t is $1',
      "execute p('secret', 5)": 'execute p($1, $2)',
      "prepare p as select 'secret'": 'prepare p as select $1',
      "create view v as select 'é', 'secret', \"ü\" from t":
        'create view v as select $1, $2, "ü" from t',
      "create type e as enum ('secret')": 'create type e as enum ($1)',
      "copy t to program 'secret'": 'copy t to program $1',
      "select 1; set x = 'secret'; notify c, 'secret'": 'select $1; set x = $2; notify c, $3',
      "select 'secret'\n'secret'": 'select $1',
      '': '',
    };
    assert.deepEqual(await thread.shapesOf(Object.keys(shapes)), Object.values(shapes));
  });

  test('is made once for texts that differ in integers alone, and is the same', async () => {
    const texts = [7, 8, 1_000].map((n) => `select a1 from t where b = ${n} and c in (1, ${n})`);
    assert.deepEqual(await thread.shapesOf(texts), texts.map(() => 'select a1 from t where b = $1 and c in ($2, $3)')); // prettier-ignore
  });

  test('is none where PostgreSQL would not understand it', async () => {
    const texts = ["selec 'secret'", "select 'secret", "select 'a\\'secret', 'b\\'secret'", '\\'];
    assert.deepEqual(
      await thread.shapesOf(texts),
      texts.map(() => undefined),
    );
  });

  test('is none for a text that kills the parser, and others have theirs', async () => {
    const deep = `select ${'('.repeat(30_000)}1${')'.repeat(30_000)}`;
    const chain = `select ${'- '.repeat(30_000)}1`;
    const shapes = await thread.shapesOf([
      'select 1',
      deep,
      'select 2 as b',
      chain,
      'select 3 as c',
    ]);
    assert.deepEqual([shapes[0], shapes[2], shapes[4]], ['select $1', 'select $1 as b', 'select $1 as c']); // prettier-ignore
    assert.equal(shapes[1], undefined);
  });

  test('of a very long text is cut', async () => {
    const [shape = ''] = await thread.shapesOf([`select ${'column_name, '.repeat(1_000)}1`]);
    assert.deepEqual([shape.length, shape.at(-1)], [8_193, '…']);
  });
});

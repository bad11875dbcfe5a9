import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { resolveSurvey, type Resolved } from '#core/postgres/sql/resolve.ts';
import type { Meaning, StatementSurvey } from '#core/postgres/sql/survey.ts';
import { maxTables } from '#core/postgres/sql/table-facts.ts';
import { madeCatalogue } from '../../../support/made-catalogue.ts';
import { names, parsed, plain, shown, use } from '../../../support/written-survey.ts';

const catalogue = madeCatalogue({
  schemas: ['pg_catalog', 'information_schema', 'public', 'app', 'hr', 'alice', 'Odd "Name'],
  roles: { alice: ['hr'], bob: [], root: [], guest: ['app', 'hr'], ghost: undefined },
  relations: {
    'pg_catalog.pg_class': 'r',
    'pg_catalog.pg_authid': 'r',
    'pg_catalog.pg_shadow': 'v',
    'pg_catalog.pg_user': 'v',
    'pg_catalog.pg_settings': 'v!',
    'public.orders': 'r',
    'app.orders': 'r',
    'app.audit': 'r!',
    'app.log': 'r',
    'app.copied': 'r!',
    'app.Mixed Case': 'r',
    'app.seq': 'S',
    'app.remote': 'f',
    'app.report': 'v',
    'app.deep': 'v',
    'app.totals': 'm',
    'app.whole': 'v',
    'app.joined': 'v',
    'app.updatable': 'v',
    'app.outer_updatable': 'v',
    'app.redirected': 'v!',
    'app.loop_a': 'v',
    'app.loop_b': 'v',
    'app.part_view': 'v',
    'app.parts': 'p',
    'app.part_1': 'p',
    'app.part_1a': 'r!',
    'app.part_2': 'f',
    'app.animals': 'r',
    'app.dogs': 'r',
    'app.pets': 'r',
    'hr.salaries': 'r',
    'hr.orders': 'r',
    'alice.orders': 'r',
    'pg_temp.orders': 'r',
    'pg_temp.scratch': 'r',
    'pg_temp.mine': 'v',
    'Odd "Name.t.u': 'r',
  },
  indexes: { 'app.orders_pkey': 'app.orders' },
  children: {
    'app.parts': ['app.part_1', 'app.part_2'],
    'app.part_1': ['app.part_1a'],
    'app.animals': ['app.dogs'],
    'app.pets': ['app.dogs'],
  },
  views: {
    'pg_catalog.pg_shadow': ['pg_catalog.pg_authid'],
    'pg_catalog.pg_user': ['pg_catalog.pg_shadow(usename)'],
    'app.report': ['app.orders(id,total)'],
    'app.deep': ['app.report(id)', 'hr.salaries(amount)'],
    'app.totals': ['app.orders(total)'],
    'app.whole': ['app.orders'],
    'app.joined': ['app.orders(id)', 'app.remote(id)'],
    'app.updatable': ['app.orders(id)', 'app.log(at)'],
    'app.outer_updatable': ['app.updatable(id)'],
    'app.redirected': ['app.orders(id)'],
    'app.loop_a': ['app.loop_b(x)'],
    'app.loop_b': ['app.loop_a(x)'],
    'app.part_view': ['app.part_1(id)'],
    'pg_temp.mine': ['hr.salaries(amount)'],
  },
  rules: { 'app.redirected': ['app.log(at)'], 'app.copied': ['app.log', 'app.updatable(id)'] },
  calls: {
    'app.report': ['app.mask', 'pg_catalog.lower'],
    'app.copied': ['app.notify'],
    'pg_catalog.pg_shadow': ['pg_catalog.pg_read_file'],
  },
  functions: {
    'pg_catalog.lower': 'i',
    'pg_catalog.random': 'v',
    'pg_catalog.now': 's',
    'pg_catalog.set_config': 'v',
    'pg_catalog.pg_sleep': 'v',
    'pg_catalog.pg_read_file': 'v',
    'pg_catalog.pg_stat_get_activity': 's',
    'pg_catalog.pg_stat_get_dead_tuples': 's',
    'information_schema._pg_truetypid': 'i',
    'public.lower': 'i',
    'app.mask': 'i',
    'app.zap': 'v',
    'app.notify': 'v',
    'app.same': 'i',
    'public.zap': 's',
    'hr.raise': 'v',
    'hr.near': 'v',
    'pg_temp.sneak': 'v',
    'app.full_name': 'v row',
    'hr.full_name': 's row',
    'pg_catalog.count': 'i row',
  },
  operators: { 'app.===': 'app.same', 'hr.===': 'hr.near', 'pg_catalog.~~~': 'app.zap' },
});

const usual: Meaning = { searchPath: ['$user', 'public', 'app'], currentUser: 'bob' };
const as = (currentUser: string, ...searchPath: string[]): Meaning => ({ searchPath, currentUser });

const resolve = (survey: Partial<StatementSurvey>, meaning = usual): Resolved =>
  resolveSurvey({ ...plain, ...survey }, meaning, catalogue);

describe('relations', () => {
  const cases: [use: string, meaning: Meaning, tables: string[]][] = [
    ['Read app.orders(id)', usual, ['Read app.orders(id)']],
    ['Write app.orders(id)', usual, ['Write app.orders(id)']],
    ['Define app.orders', usual, ['Define app.orders(*)']],
    ['Read app.Mixed Case(a)', usual, ['Read app.Mixed Case(a)']],
    ['Read Odd "Name.t.u', usual, ['Read Odd "Name.t.u(*)']],
    ['Read log', usual, ['Read app.log(*)']],
    ['Read seq', usual, ['Read app.seq(*)']],
    ['Read remote', usual, ['Read app.remote(*)']],
    // A temporary table may be this session's or another's.
    ['Read orders', usual, ['Read pg_temp.orders(*)', 'Read public.orders(*)']],
    ['Read orders', as('bob', 'app'), ['Read pg_temp.orders(*)', 'Read app.orders(*)']],
    ['Read orders', as('bob', 'app', 'pg_temp'), ['Read pg_temp.orders(*)', 'Read app.orders(*)']],
    ['Read scratch', usual, ['Read pg_temp.scratch(*)']],
    ['Read pg_temp.scratch', usual, ['Read pg_temp.scratch(*)']],
    ['Read pg_temp_3.scratch', usual, ['Read pg_temp.scratch(*)']],
    ['Write pg_temp.log', usual, ['Write pg_temp.log(*)']],
    ['Read mine', usual, ['Read pg_temp.mine(*)', 'Read hr.salaries(amount) by View pg_temp.mine']],
    // Who asks.
    [
      'Read orders',
      as('alice', '$user', 'app'),
      ['Read pg_temp.orders(*)', 'Read alice.orders(*)'],
    ],
    ['Read orders', as('alice', '"$user"'), ['Read pg_temp.orders(*)', 'Read alice.orders(*)']],
    ['Read orders', as('bob', '$user', 'app'), ['Read pg_temp.orders(*)', 'Read app.orders(*)']],
    ['Read orders', as('alice', 'hr', 'app'), ['Read pg_temp.orders(*)', 'Read app.orders(*)']],
    ['Read orders', as('bob', 'hr', 'app'), ['Read pg_temp.orders(*)', 'Read hr.orders(*)']],
    ['Read log', as('guest', 'app', 'hr'), ['Read ?.log(*)']],
    [
      'Read orders',
      as('ghost', 'hr', 'app'),
      ['Read pg_temp.orders(*)', 'Read hr.orders(*)', 'Read app.orders(*)'],
    ],
    [
      'Read orders',
      as('nobody knows', 'hr', 'app'),
      ['Read pg_temp.orders(*)', 'Read hr.orders(*)', 'Read app.orders(*)'],
    ],
    ['Read hr.salaries', as('alice'), ['Read hr.salaries(*)']],
    // pg_catalog.
    ['Read pg_class', as('bob'), ['Read pg_catalog.pg_class(*)']],
    ['Read pg_class', as('bob', 'app', 'pg_catalog'), ['Read pg_catalog.pg_class(*)']],
    ['Read pg_catalog.pg_class', as('bob'), ['Read pg_catalog.pg_class(*)']],
    // Not there.
    ['Read nothing(a)', usual, ['Read ?.nothing(a)']],
    ['Read hr.nothing', usual, ['Read hr.nothing(*)']],
    ['Read nowhere.nothing', usual, ['Read nowhere.nothing(*)']],
    ['Read log', as('bob', 'nowhere'), ['Read ?.log(*)']],
    ['Read log', as('bob'), ['Read ?.log(*)']],
    // Whole schemas.
    ['Define app.*', usual, ['Define app.*(*)']],
    ['Define *', usual, ['Define ?.*(*)']],
  ];
  for (const [text, meaning, expected] of cases)
    test(`${text} as ${meaning.currentUser} in ${meaning.searchPath.join() || 'no path'}`, () => {
      const { facts } = resolve({ relations: [use(text)] }, meaning);
      assert.deepEqual(facts.tables.map(shown), expected);
    });

  test('of a schema that comes before pg_catalog in the path is found first', () => {
    const shadowed = madeCatalogue({
      schemas: ['pg_catalog', 'app'],
      roles: { bob: [] },
      relations: { 'pg_catalog.pg_class': 'r', 'app.pg_class': 'r' },
    });
    const find = (...path: string[]): string[] =>
      resolveSurvey(
        { ...plain, relations: [use('Read pg_class')] },
        as('bob', ...path),
        shadowed,
      ).facts.tables.map(shown);
    assert.deepEqual(find('app'), ['Read pg_catalog.pg_class(*)']);
    assert.deepEqual(find('app', 'pg_catalog'), ['Read app.pg_class(*)']);
  });

  test('are one fact for each access, with the columns of all its uses', () => {
    const relations = ['Read app.log(a,b)', 'Read only log(b,c)', 'Write log(a)'].map(use);
    const { facts } = resolve({ relations });
    assert.deepEqual(facts.tables.map(shown), ['Read app.log(a,b,c)', 'Write app.log(a)']);
  });
});

describe('what a relation leads to', () => {
  const orders = 'by View app.report';
  const cases: [use: string, tables: string[]][] = [
    ['Read report(id)', ['Read app.report(id)', `Read app.orders(id,total) ${orders}`]],
    [
      'Read deep',
      [
        'Read app.deep(*)',
        'Read app.report(id) by View app.deep',
        'Read app.orders(id,total) by View app.deep',
        'Read hr.salaries(amount) by View app.deep',
      ],
    ],
    ['Read totals', ['Read app.totals(*)', 'Read app.orders(total) by View app.totals']],
    ['Read whole(id)', ['Read app.whole(id)', 'Read app.orders(*) by View app.whole']],
    [
      'Read app.joined',
      [
        'Read app.joined(*)',
        'Read app.orders(id) by View app.joined',
        'Read app.remote(id) by View app.joined',
      ],
    ],
    [
      'Read pg_user',
      [
        'Read pg_catalog.pg_user(*)',
        'Read pg_catalog.pg_shadow(usename) by View pg_catalog.pg_user',
        'Read pg_catalog.pg_authid(*) by View pg_catalog.pg_user',
      ],
    ],
    [
      'Write updatable(id)',
      [
        'Write app.updatable(id)',
        'Write app.orders(*) by View app.updatable',
        'Read app.log(at) by View app.updatable',
      ],
    ],
    [
      'Write outer_updatable',
      [
        'Write app.outer_updatable(*)',
        'Write app.updatable(*) by View app.outer_updatable',
        'Write app.orders(*) by View app.outer_updatable',
        'Read app.log(at) by View app.outer_updatable',
      ],
    ],
    [
      'Write redirected',
      [
        'Write app.redirected(*)',
        'Write app.orders(*) by View app.redirected',
        'Read app.log(at) by View app.redirected',
        'Write app.log(*) by View app.redirected',
      ],
    ],
    ['Read redirected', ['Read app.redirected(*)', 'Read app.orders(id) by View app.redirected']],
    ['Read copied', ['Read app.copied(*)']],
    [
      'Write copied',
      [
        'Write app.copied(*)',
        'Read app.log(*,at) by View app.copied',
        'Write app.log(*) by View app.copied',
        'Read app.updatable(id) by View app.copied',
        'Read app.orders(id) by View app.copied',
        'Write app.updatable(*) by View app.copied',
        'Write app.orders(*) by View app.copied',
      ],
    ],
    ['Define report', ['Define app.report(*)']],
    [
      'Read loop_a',
      [
        'Read app.loop_a(*)',
        'Read app.loop_b(x) by View app.loop_a',
        'Read app.loop_a(x) by View app.loop_a',
      ],
    ],
    [
      'Read parts(id)',
      [
        'Read app.parts(id)',
        'Read app.part_1(id) by Child app.parts',
        'Read app.part_1a(id) by Child app.parts',
        'Read app.part_2(id) by Child app.parts',
      ],
    ],
    ['Read only parts', ['Read app.parts(*)']],
    [
      'Define parts',
      [
        'Define app.parts(*)',
        'Define app.part_1(*) by Child app.parts',
        'Define app.part_1a(*) by Child app.parts',
        'Define app.part_2(*) by Child app.parts',
      ],
    ],
    [
      'Write part_1a(id)',
      [
        'Write app.part_1a(id)',
        'Write app.part_1(id) by Parent app.part_1a',
        'Write app.parts(id) by Parent app.part_1a',
      ],
    ],
    [
      'Read part_1',
      [
        'Read app.part_1(*)',
        'Read app.parts(*) by Parent app.part_1',
        'Read app.part_1a(*) by Child app.part_1',
      ],
    ],
    ['Read only part_1', ['Read app.part_1(*)', 'Read app.parts(*) by Parent app.part_1']],
    [
      'Read animals',
      [
        'Read app.animals(*)',
        'Read app.dogs(*) by Child app.animals',
        'Read app.pets(*) by Child app.animals',
      ],
    ],
    [
      'Read dogs',
      [
        'Read app.dogs(*)',
        'Read app.pets(*) by Parent app.dogs',
        'Read app.animals(*) by Parent app.dogs',
      ],
    ],
    [
      'Read part_view',
      [
        'Read app.part_view(*)',
        'Read app.part_1(id) by View app.part_view',
        'Read app.parts(id) by Parent app.part_1',
        'Read app.part_1a(id) by Child app.part_1',
      ],
    ],
    [
      'Define orders_pkey',
      ['Define app.orders_pkey(*)', 'Define app.orders(*) by Parent app.orders_pkey'],
    ],
  ];
  for (const [text, expected] of cases)
    test(`of ${text}`, () => {
      const { facts } = resolve({ relations: [use(text)] });
      assert.deepEqual(facts.tables.map(shown).sort(), expected.toSorted());
    });

  test('says that a write reaches a parent although the parent is read as well', () => {
    const { facts } = resolve({ relations: ['Read parts', 'Write part_2'].map(use) });
    assert.ok(facts.tables.map(shown).includes('Write app.parts(*) by Parent app.part_2'));
  });

  test('is anything at all past a bound, and may then do anything', () => {
    const children = Array.from({ length: maxTables + 10 }, (_, index) => `app.c${index}`);
    const many = madeCatalogue({
      schemas: ['app'],
      roles: { bob: [] },
      relations: Object.fromEntries(['app.all', ...children].map((name) => [name, 'r'])),
      children: { 'app.all': children },
    });
    const survey = { ...plain, relations: [use('Read app.all')] };
    const { facts } = resolveSurvey(survey, usual, many);
    assert.equal(facts.tables.length, maxTables + 1);
    assert.ok(facts.tables.map(shown).includes('Read ?.*(*)'));
    assert.equal(facts.readOnly, false);
    assert.equal(facts.changesMeaning, true);
  });
});

describe('functions', () => {
  const cases: [written: string, meaning: Meaning, functions: string[]][] = [
    ['app.mask', usual, ['app.mask']],
    ['mask', usual, ['app.mask']],
    ['now', usual, ['pg_catalog.now']],
    ['pg_catalog.now', usual, ['pg_catalog.now']],
    // Types of arguments decide between them.
    ['lower', usual, ['pg_catalog.lower', 'public.lower']],
    ['lower', as('bob', 'app'), ['pg_catalog.lower']],
    ['zap', usual, ['app.zap', 'public.zap']],
    ['zap', as('bob', 'app'), ['app.zap']],
    ['zap', as('guest', 'app', 'public'), ['public.zap']],
    ['raise', as('alice', 'hr'), ['?.raise']],
    ['raise', as('ghost', 'hr'), ['hr.raise']],
    ['nope', usual, ['?.nope']],
    ['hr.nope', usual, ['hr.nope']],
    // Temporary functions are found by their schema alone.
    ['sneak', usual, ['?.sneak']],
    ['pg_temp.sneak', usual, ['pg_temp.sneak']],
    ['pg_temp_7.sneak', usual, ['pg_temp.sneak']],
  ];
  for (const [written, meaning, expected] of cases)
    test(`${written} as ${meaning.currentUser} in ${meaning.searchPath.join()}`, () => {
      const { facts } = resolve({ functions: [parsed(written)] }, meaning);
      assert.deepEqual(names(facts.functions), expected);
    });

  const operators: [written: string, meaning: Meaning, functions: string[]][] = [
    ['=', usual, []],
    ['===', usual, ['app.same']],
    ['===', as('bob', 'app', 'hr'), ['app.same', 'hr.near']],
    ['===', as('alice', 'hr'), []],
    ['hr.===', usual, ['hr.near']],
    ['pg_catalog.=', usual, []],
    ['~~~', as('bob'), ['app.zap']],
    ['hr.=', usual, ['?.=']],
  ];
  for (const [written, meaning, expected] of operators)
    test(`behind the operator ${written} in ${meaning.searchPath.join()}`, () => {
      const { facts } = resolve({ operators: [parsed(written)] }, meaning);
      assert.deepEqual(names(facts.functions), expected);
    });

  const attributes: [name: string, meaning: Meaning, functions: string[]][] = [
    ['full_name', usual, ['app.full_name']],
    ['full_name', as('bob', 'hr', 'app'), ['app.full_name', 'hr.full_name']],
    ['full_name', as('alice', 'hr'), []],
    ['zap', usual, []],
    ['count', usual, []],
  ];
  for (const [name, meaning, expected] of attributes)
    test(`behind the dot of row.${name} in ${meaning.searchPath.join()}`, () => {
      const { facts, unknown } = resolve({ attributes: [name] }, meaning);
      assert.deepEqual(names(facts.functions), expected);
      assert.equal(facts.readOnly, !expected.includes('app.full_name'));
      assert.deepEqual(unknown, []);
    });

  test('of views and rules are called as well', () => {
    const of = (text: string): string[] =>
      names(resolve({ relations: [use(text)] }).facts.functions);
    assert.deepEqual(of('Read deep'), ['app.mask', 'pg_catalog.lower']);
    assert.deepEqual(of('Write copied'), ['app.notify']);
    assert.deepEqual(of('Read copied'), []);
  });
});

describe('what a statement may do', () => {
  const cases: [title: string, survey: Partial<StatementSurvey>, readOnly: boolean, changes: boolean][] =
    [
      ['nothing named', {}, true, false],
      ['a harmless immutable', { functions: [parsed('pg_catalog.lower')] }, true, false],
      ['a harmless volatile', { functions: [parsed('random')] }, true, false],
      ['a stable one that is not harmless', { functions: [parsed('pg_stat_get_activity')] }, true, false],
      ['one of information_schema', { functions: [parsed('information_schema._pg_truetypid')] }, true, false],
      ['set_config', { functions: [parsed('set_config')] }, false, true],
      ['pg_sleep', { functions: [parsed('pg_sleep')] }, false, true],
      ['an immutable of a user, whatever it says', { functions: [parsed('mask')] }, true, true],
      ['a volatile of a user', { functions: [parsed('app.zap')] }, false, true],
      ['a user function by the name of a harmless one', { functions: [parsed('lower')] }, true, true],
      ['an unknown function', { functions: [parsed('nope')] }, false, true],
      ['an unknown one of pg_catalog', { functions: [parsed('pg_catalog.nope')] }, false, true],
      ['a user operator', { operators: [parsed('===')] }, true, true],
      ['a view with a user function', { relations: [use('Read report')] }, true, true],
      ['a view with a volatile one', { relations: [use('Read pg_user')] }, false, true],
      ['a table', { relations: [use('Read audit')] }, true, false],
      ['a write', { readOnly: false, relations: [use('Write app.log')] }, false, false],
      ['a write with triggers', { readOnly: false, relations: [use('Write audit')] }, false, true],
      ['a write to a child with triggers', { readOnly: false, relations: [use('Write parts')] }, false, true],
      ['a write to the parent alone', { readOnly: false, relations: [use('Write only parts')] }, false, false],
      ['a definition of one with triggers', { readOnly: false, relations: [use('Define audit')] }, false, false],
      ['what the grammar shows', { changesMeaning: true }, true, true],
      ['what the grammar shows of writing', { readOnly: false }, false, false],
    ]; // prettier-ignore
  for (const [title, survey, readOnly, changesMeaning] of cases)
    test(title, () => {
      const { facts } = resolve(survey);
      assert.deepEqual(
        { readOnly: facts.readOnly, changesMeaning: facts.changesMeaning },
        { readOnly, changesMeaning },
      );
    });

  test('is passed on where the grammar says it', () => {
    const said = {
      commands: ['COPY TO', 'SELECT'],
      hasWhere: true,
      limit: 3,
      copy: { direction: 'To', target: 'Client' },
      settings: ['*'],
      isOpaque: true,
    } as const;
    const { tables, functions, changesMeaning, readOnly, ...rest } = resolve(said).facts;
    assert.deepEqual(rest, said);
    assert.deepEqual([tables, functions, changesMeaning, readOnly], [[], [], false, true]);
  });
});

describe('what the catalogue does not know', () => {
  test('is said once, without what the statement makes', () => {
    const { unknown } = resolve({
      relations: ['Read nothing', 'Write nothing', 'Read app.log', 'Read hr.nothing'].map(use),
      functions: ['nope', 'nope', 'lower', 'hr.nope'].map(parsed),
      operators: ['=', 'hr.=', '==='].map(parsed),
    });
    assert.deepEqual(names(unknown), ['?.nope', '?.nothing', 'hr.=', 'hr.nope', 'hr.nothing']);
  });

  const made: [command: string, use: string, meaning: Meaning, tables: string[]][] = [
    ['CREATE TABLE', 'Define fresh', usual, ['Define public.fresh(*)']],
    ['CREATE TABLE', 'Define fresh', as('alice', '$user', 'app'), ['Define alice.fresh(*)']],
    ['CREATE VIEW', 'Define fresh', as('guest', 'app', 'public'), ['Define public.fresh(*)']],
    [
      'SELECT INTO',
      'Define fresh',
      as('ghost', 'hr', 'app'),
      ['Define hr.fresh(*)', 'Define app.fresh(*)'],
    ],
    ['CREATE TABLE AS', 'Define log', usual, ['Define app.log(*)', 'Define public.log(*)']],
    ['CREATE TABLE', 'Define hr.fresh', usual, ['Define hr.fresh(*)']],
  ];
  for (const [command, text, meaning, expected] of made)
    test(`may be made: ${command} with ${text} in ${meaning.searchPath.join()}`, () => {
      const { facts, unknown } = resolve({ commands: [command], relations: [use(text)] }, meaning);
      assert.deepEqual(facts.tables.map(shown), expected);
      assert.deepEqual(unknown, []);
    });

  test('is not made by a statement that drops', () => {
    const { facts, unknown } = resolve({
      commands: ['DROP TABLE'],
      relations: [use('Define fresh')],
    });
    assert.deepEqual(facts.tables.map(shown), ['Define ?.fresh(*)']);
    assert.deepEqual(names(unknown), ['?.fresh']);
  });
});

describe('without a catalogue', () => {
  const bare = (survey: Partial<StatementSurvey>): Resolved =>
    resolveSurvey({ ...plain, ...survey }, usual, undefined);

  test('schemas are those that are written', () => {
    const { facts, unknown } = bare({
      relations: ['Read orders(id)', 'Write app.orders', 'Read pg_temp_4.x', 'Define app.*'].map(
        use,
      ),
      functions: ['lower', 'pg_catalog.lower', 'app.zap'].map(parsed),
    });
    assert.deepEqual(facts.tables.map(shown), [
      'Read ?.orders(id)',
      'Write app.orders(*)',
      'Read pg_temp.x(*)',
      'Define app.*(*)',
    ]);
    assert.deepEqual(names(facts.functions), ['?.lower', 'app.zap', 'pg_catalog.lower']);
    assert.deepEqual(unknown, []);
  });

  const cases: [written: string, readOnly: boolean, changesMeaning: boolean][] = [
    ['pg_catalog.lower', true, false],
    ['pg_catalog.set_config', false, true],
    ['lower', false, false], // it may be anybody's, but there is no catalogue whose names it could turn
    ['set_config', false, true],
    ['app.mask', false, true],
  ];
  for (const [written, readOnly, changesMeaning] of cases)
    test(`of ${written} the worst is believed`, () => {
      const { facts } = bare({ functions: [parsed(written)] });
      assert.deepEqual([facts.readOnly, facts.changesMeaning], [readOnly, changesMeaning]);
    });
});

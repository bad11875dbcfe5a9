import { loadModule, parseSync } from 'libpg-query';
import { surveyTree } from '../../core/postgres/sql/survey-tree.ts';
import type { NameUse, StatementSurvey, Survey } from '../../core/postgres/sql/survey.ts';

/** A text and what it shows, one string a statement. */
export type Row = readonly [text: string, ...shown: string[]];

await loadModule();

/** Parses and surveys a text as the product does. */
export function surveyText(text: string): Survey {
  return surveyTree(parseSync(text));
}

/**
 * Says in one line what a statement shows: its commands; relations by access; functions as `f`, operators as `o`; a WHERE
 * or `whole`; LIMIT, COPY, settings as `set`; and in the end its flags, `alters` where it is not read-only.
 */
export function notationOf(statement: StatementSurvey): string {
  const { limit, copy, prepares, executes, deallocates, settings } = statement;
  const where = { true: 'where', false: 'whole', undefined: '' }[String(statement.hasWhere)];
  return [
    statement.commands.join(', '),
    ...statement.relations.map(
      (use) =>
        `${use.access.toLowerCase()} ${use.only ? 'only ' : ''}${dotted(use)}(${use.columns.join(' ')})`,
    ),
    listed('f', statement.functions.map(dotted)),
    listed('o', statement.operators.map(dotted)),
    where,
    limit === undefined ? '' : `limit ${limit === true ? '?' : limit}`,
    copy ? `copy ${copy.direction} ${copy.target}` : '',
    listed('set', settings),
    prepares ? `prepares ${prepares.name} <${notationOf(prepares.statement)}>` : '',
    executes === undefined ? '' : `executes ${executes}`,
    deallocates === undefined
      ? ''
      : `deallocates ${deallocates === 'all' ? '*' : deallocates.name}`,
    statement.readOnly ? '' : 'alters',
    statement.changesCatalogue ? 'catalogue' : statement.changesMeaning ? 'meaning' : '',
    statement.isOpaque ? 'opaque' : '',
  ]
    .filter((part) => part !== '' && part !== undefined)
    .join('; ');
}

function dotted({ schema, name }: NameUse): string {
  return schema === undefined ? name : `${schema}.${name}`;
}

function listed(word: string, names: readonly string[]): string {
  return names.length === 0 ? '' : `${word} ${names.join(' ')}`;
}

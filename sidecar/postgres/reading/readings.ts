import type { Facts, PostgresFacts, StatementFacts } from '#core/facts.ts';
import type { Unreadable } from '#core/operation.ts';
import type { Catalogue } from '#core/postgres/sql/catalogue.ts';
import { resolveSurvey } from '#core/postgres/sql/resolve.ts';
import type { NameUse, StatementSurvey, Survey } from '#core/postgres/sql/survey.ts';
import { joinEffects, noEffects, type Effects } from './effects.ts';
import type { TextMeaning } from './settings-query.ts';

/** What a text does under one meaning of its names. */
export interface Reading {
  readonly facts: Facts | Unreadable;
  readonly effects: Effects;
}

/** A statement of a text, looked up. */
export interface ResolvedStatement {
  readonly survey: StatementSurvey;
  readonly facts: StatementFacts;
  /** Names that the catalogue does not have. */
  readonly unknown: readonly NameUse[];
  readonly effects: Effects;
}

/** A text whose statements are looked up. */
export interface ResolvedText {
  readonly statements: readonly ResolvedStatement[];
  readonly hasUnknown: boolean;
  /** Of the text as it stands alone. */
  readonly reading: { readonly facts: PostgresFacts; readonly effects: Effects };
}

const maxMeanings = 256;
const noCatalogue = {};
const byCatalogue = new WeakMap<object, Map<string, WeakMap<Survey, ResolvedText>>>();

/**
 * Looks up the names of a text. The same text under the same meaning and catalogue is the same object, for every session:
 * verdicts are remembered by it.
 */
export function resolveText(
  survey: Survey,
  meaning: TextMeaning,
  catalogue: Catalogue | undefined,
): ResolvedText {
  const texts = textsUnder(meaning, catalogue);
  const known = texts.get(survey);
  if (known) return known;
  const statements = survey.statements.map((one) => resolveStatement(one, meaning, catalogue));
  const text: ResolvedText = {
    statements,
    hasUnknown: statements.some(({ unknown }) => unknown.length > 0),
    reading: {
      facts: { protocol: 'Postgres', statements: statements.map(({ facts }) => facts) },
      effects: statements.reduce((sum, { effects }) => joinEffects(sum, effects), noEffects),
    },
  };
  texts.set(survey, text);
  return text;
}

/** Looks up the names of one statement, which is remembered nowhere. */
export function resolveStatement(
  survey: StatementSurvey,
  meaning: TextMeaning,
  catalogue: Catalogue | undefined,
): ResolvedStatement {
  const { facts, unknown } = resolveSurvey(survey, meaning, catalogue);
  // Without a catalogue nobody knows what any name stands for.
  const unknownNames = catalogue ? unknown : survey.relations;
  return { survey, facts, unknown: unknownNames, effects: effectsOf(survey, facts) };
}

/** Whether a statement names anything whose meaning may change. */
export function hasNames({ survey }: Pick<ResolvedStatement, 'survey'>): boolean {
  const { relations, functions, operators, executes } = survey;
  return relations.length + functions.length + operators.length > 0 || executes !== undefined;
}

function effectsOf(survey: StatementSurvey, facts: StatementFacts): Effects {
  const [command] = survey.commands;
  const ends = endings.has(command);
  return {
    // The end of a transaction takes back what was set in it: that counts only where something was; and what
    // definitions change the catalogue tells.
    meaning: facts.changesMeaning && !ends && !definesOnly(survey, facts),
    ends,
    catalogue: survey.changesCatalogue || facts.isOpaque,
    opaque: facts.isOpaque,
    moves: survey.moves,
    drops: dropsOf(survey, facts),
    makes: survey.makes,
    adopts: survey.adopts,
  };
}

const anyName: NameUse = { schema: undefined, name: '*' };

/** Any name: a rollback takes back what was created, with a schema goes all that is in it, and with a right to look. */
function dropsOf(survey: StatementSurvey, { tables }: StatementFacts): readonly NameUse[] {
  const [command] = survey.commands;
  if (command === 'ROLLBACK' || survey.changesRights) return [anyName];
  if (!survey.changesCatalogue) return [];
  if (survey.moves.length === 0 && !command.startsWith('DROP')) return [];
  return tables.filter(({ access, through }) => access === 'Define' && !through);
}

function definesOnly(survey: StatementSurvey, facts: StatementFacts): boolean {
  return survey.changesCatalogue && survey.settings.length === 0 && !facts.isOpaque;
}

const endings: ReadonlySet<string> = new Set([
  'COMMIT',
  'ROLLBACK',
  'ROLLBACK TO',
  'ROLLBACK TO SAVEPOINT',
  'PREPARE TRANSACTION',
  'ROLLBACK PREPARED',
  'COMMIT PREPARED',
]);

function textsUnder(
  meaning: TextMeaning,
  catalogue: Catalogue | undefined,
): WeakMap<Survey, ResolvedText> {
  const key = catalogue ?? noCatalogue;
  let meanings = byCatalogue.get(key);
  if (!meanings) byCatalogue.set(key, (meanings = new Map()));
  let texts = meanings.get(meaning.key);
  if (texts) return texts;
  if (meanings.size >= maxMeanings) meanings.clear(); // an agent may set as many as it likes
  meanings.set(meaning.key, (texts = new WeakMap()));
  return texts;
}

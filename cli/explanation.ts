import type { StatementFacts } from '#core/facts.ts';
import type {
  ExplainedElement,
  ExplainedPart,
  ExplainedRule,
  RuleName,
} from '#core/policy/explain.ts';
import type { Answer, Question } from '#core/policy/question.ts';
import { printable, printableLines, table } from './terminal.ts';
import { withoutCatalogue } from './text-reader.ts';
import { decidedBy, verdictWord } from './verdict-words.ts';

type Answered = Exclude<Answer, { readonly problem: string }>;

/** Says for people why something is allowed or denied, the answer first. */
export function explanationLines(
  { text, backend, database }: Question,
  { explanation, understood, who, notes, revision }: Answered,
): readonly string[] {
  const { verdict, wouldBe, policies, parts, unreadable } = explanation;
  const { recorded, message } = verdict;
  const asked =
    who.kind === 'token'
      ? `${who.user}${listed(who.groups)}, with a token of ${who.provider}`
      : who.user;
  const lines = [
    `${verdictWord(recorded).toUpperCase()} by ${decidedBy(recorded)}`,
    ...(message === undefined ? [] : [`  it says: ${printable(message)}`]),
    ...(recorded.action === 'Allow' && wouldBe.recorded.action === 'Deny'
      ? [`  once every policy enforces: DENIED by ${decidedBy(wouldBe.recorded)}`]
      : []),
    '',
    `text      ${printableLines(text, '          ')}`,
    `as        ${printable(asked)}`,
    `backend   ${printable(backend)}${database === undefined ? '' : `, database ${printable(database)}`}`,
    ...policies.map(
      ({ name, mode, defaultAction }, index) =>
        `${index === 0 ? 'policies ' : '         '} ${printable(name)}: ${mode}, default ${defaultAction}`,
    ),
    `revision  ${revision}`,
  ];
  if (unreadable !== undefined) lines.push('', `It cannot be judged: ${printable(unreadable)}`);
  const { facts } = understood;
  if (facts.protocol === 'Unreadable' && facts.error)
    lines.push(`  ${printable(facts.error.message)}, at character ${facts.error.position ?? '?'}`);
  parts.forEach((part, index) => lines.push('', ...partLines(part, index + 1)));
  lines.push('', ...remarks(understood), ...notes.map(sentence));
  return lines;
}

function remarks({ facts, hasCatalogue, unknown }: Answered['understood']): string[] {
  if (facts.protocol !== 'Postgres') return [];
  if (!hasCatalogue) return [sentence(withoutCatalogue)];
  const names = unknown.map(({ schema, name }) =>
    schema === undefined ? name : `${schema}.${name}`,
  );
  const missing =
    names.length === 0 ? [] : [`The catalogue does not have: ${printable(names.join(', '))}`];
  return ['Names were looked up with the search_path "$user", public.', ...missing];
}

function partLines({ statement, elements, rules }: ExplainedPart, number: number): string[] {
  const cells = elements.map((each) => [each.text, coverText(each)]);
  return [
    statement ? `statement ${number}: ${factsText(statement)}` : 'nothing of it is read',
    ...(cells.length === 0 ? [] : indented(table(['element', 'access'], cells))),
    ...(rules.length === 0
      ? ['  there is no rule']
      : indented(table(['rule', 'action', 'what became of it'], rules.map(ruleCells)))),
  ];
}

function factsText({
  commands,
  readOnly,
  hasWhere,
  limit,
  settings,
  changesMeaning,
  isOpaque,
  copy,
}: StatementFacts): string {
  const facts = [
    commands.join(', '),
    readOnly ? 'reads only' : 'may change something',
    ...(hasWhere === undefined ? [] : [hasWhere ? 'with WHERE' : 'without WHERE']),
    ...(limit === undefined ? [] : [`LIMIT ${limit === true ? 'of an expression' : limit}`]),
    ...(copy ? [`COPY ${copy.direction} ${copy.target}`] : []),
    ...(settings.length === 0 ? [] : [`sets ${settings.join(', ')}`]),
    ...(changesMeaning ? ['may change what later texts mean'] : []),
    ...(isOpaque ? ['runs what nobody can read before'] : []),
  ];
  return printable(facts.join('; '));
}

function coverText({ needsCover, coveredBy, stoppedBy }: ExplainedElement): string {
  if (stoppedBy.length > 0) return `stopped by ${names(stoppedBy)}`;
  if (coveredBy.length > 0) return `covered by ${names(coveredBy)}`;
  return needsCover ? 'covered by no rule' : 'harmless, needs no rule';
}

function names(rules: readonly RuleName[]): string {
  return rules.map(({ rule }) => rule).join(', ');
}

function ruleCells({ policy, rule, action, outcome, error }: ExplainedRule): readonly string[] {
  const why = error === undefined ? outcomes[outcome] : `${outcomes[outcome]}: ${error}`;
  return [`${policy}: ${rule}`, action, why];
}

const outcomes: Readonly<Record<ExplainedRule['outcome'], string>> = {
  decided: 'DECIDED',
  counts: 'counts',
  error: 'could not be evaluated',
  'other-backend': 'is about other backends',
  'other-subject': 'is about others',
  'read-only': 'is about other statements (readOnly)',
  'no-element': 'nothing that it lists is there',
  condition: 'its condition is false',
};

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${printable(text.slice(1))}.`;
}

function listed(items: readonly string[]): string {
  return items.length === 0 ? '' : ` (${items.join(', ')})`;
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

import { readFileSync, statSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import type { AskedWho, Question } from '#core/policy/question.ts';
import { UsageError } from './command.ts';
import type { PolicyTrial } from './policy-trial.ts';
import type { RecordedRequest } from './recorded-requests.ts';
import { jsonLine } from './statements.ts';
import { printable } from './terminal.ts';
import { withoutCatalogue } from './text-reader.ts';
import { decidedBy } from './verdict-words.ts';
import { yamlLine } from './yaml-words.ts';

/** A request, and what somebody wants to become of it. */
export interface Expectation {
  readonly question: Question;
  readonly want: 'Allow' | 'Deny';
  /** The rule that is to decide. */
  readonly rule: string | undefined;
  /** From 1, in the order of the file. */
  readonly number: number;
}

const maxFileBytes = 64 * 1024 * 1024;

/** Reads YAML, or JSON one a line. @throws UsageError that says which expectation is wrong. */
export function readExpectations(file: string): readonly Expectation[] {
  let text: string;
  try {
    if (statSync(file).size > maxFileBytes) throw new UsageError(`${file}: want at most 64 MiB`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${printable(file)} cannot be read`, { cause: error });
  }
  const items = text.trimStart().startsWith('{') ? jsonLinesOf(text, file) : yamlOf(text, file);
  return items.map((item, index) => parseExpectation(item, file, index + 1));
}

function jsonLinesOf(text: string, file: string): readonly unknown[] {
  return text.split('\n').flatMap((line, index): unknown[] => {
    if (line.trim() === '') return [];
    try {
      return [JSON.parse(line)];
    } catch (cause) {
      throw new UsageError(`${printable(file)}:${index + 1}: no JSON`, { cause });
    }
  });
}

function yamlOf(text: string, file: string): readonly unknown[] {
  const documents = [...parseAllDocuments(text, { prettyErrors: true })];
  return documents.flatMap((document): unknown[] => {
    const [error] = document.errors;
    if (error) throw new UsageError(`${printable(file)}: ${printable(error.message)}`);
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: 0 }); // a few lines of aliases can stand for gigabytes
    } catch (cause) {
      throw new UsageError(`${printable(file)}: write out what its aliases stand for`, { cause });
    }
    if (value === null) return [];
    return Array.isArray(value) ? value : [value];
  });
}

const fields = [
  'as',
  'groups',
  'provider',
  'issuer',
  'onBehalfOf',
  'backend',
  'database',
  'text',
  'want',
  'rule',
];

function parseExpectation(item: unknown, file: string, number: number): Expectation {
  const wrong = (what: string): UsageError =>
    new UsageError(`${printable(file)}, expectation ${number}: ${printable(what)}`);
  if (typeof item !== 'object' || item === null || Array.isArray(item))
    throw wrong('want an object');
  const given = new Map<string, unknown>(Object.entries(item));
  for (const name of given.keys())
    if (!fields.includes(name)) throw wrong(`unknown field "${name}"`);
  const optional = (name: string): string | undefined => {
    const value = given.get(name);
    if (value !== undefined && typeof value !== 'string') throw wrong(`${name}: want a text`);
    return value;
  };
  const required = (name: string): string => {
    const value = optional(name);
    if (value === undefined) throw wrong(`${name}: missing`);
    return value;
  };
  const groups = given.get('groups') ?? [];
  if (!isTexts(groups)) throw wrong('groups: want a list of texts');
  const want = required('want');
  if (want !== 'Allow' && want !== 'Deny') throw wrong(`want: got "${want}", want Allow or Deny`);
  const [user, backend, text] = [required('as'), required('backend'), required('text')];
  const [provider, issuer, onBehalfOf] = [
    optional('provider'),
    optional('issuer'),
    optional('onBehalfOf'),
  ];
  const who: AskedWho = { kind: 'token', user, groups, provider, issuer, onBehalfOf };
  const question = { backend, database: optional('database'), text, who };
  return { question, want, rule: optional('rule'), number };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

interface Failure {
  readonly number: number;
  readonly text: string;
  readonly want: string;
  readonly got: string;
}

/** Prints what does not come out as wanted. Returns the exit code. */
export async function checkExpectations(
  expectations: readonly Expectation[],
  trial: PolicyTrial,
  json: boolean,
): Promise<number> {
  const failures: Failure[] = [];
  let blind = 0;
  for (const { question, want, rule, number } of expectations) {
    const judged = await trial.judge(question);
    const wanted = rule === undefined ? want : `${want} by rule ${rule}`;
    const failure = (got: string): Failure => ({ number, text: question.text, want: wanted, got });
    if ('problem' in judged) {
      failures.push(failure(judged.problem));
      continue;
    }
    const { verdict, hasCatalogue } = judged;
    if (!hasCatalogue) blind += 1;
    if (verdict.action !== want || (rule !== undefined && verdict.rule !== rule))
      failures.push(failure(`${verdict.action} by ${decidedBy(verdict)}`));
  }
  if (json) process.stdout.write(jsonLine({ expectations: expectations.length, failures }));
  else printFailures(expectations.length, failures);
  if (blind > 0) process.stderr.write(`${blind} judged without a catalogue: ${withoutCatalogue}\n`);
  return failures.length === 0 ? 0 : 1;
}

function printFailures(all: number, failures: readonly Failure[]): void {
  for (const { number, text, want, got } of failures) {
    process.stdout.write(
      `${number}. ${printable(text.slice(0, 200))}\n   want ${printable(want)}\n   got  ${printable(got)}\n`,
    );
  }
  const rest = failures.length === 0 ? 'all as wanted' : `${failures.length} not as wanted`;
  process.stdout.write(`${all} ${all === 1 ? 'expectation' : 'expectations'}, ${rest}\n`);
}

/** Writes a recorded request as an expectation of what it got: one item of a list in YAML. */
export function expectationYaml(
  { principal, backend, database, verdict }: RecordedRequest,
  text: string,
): string {
  const { user, groups, provider, issuer, onBehalfOf } = principal;
  const { action: want, rule } = verdict;
  const item = {
    as: user,
    groups,
    provider,
    issuer,
    onBehalfOf,
    backend,
    database,
    text,
    want,
    rule,
  };
  const given = Object.entries(item).filter(([, value]) => value !== undefined);
  const lines = given.map(([name, value]) => `${name}: ${yamlLine(value)}\n`);
  return `- ${lines.join('  ')}`;
}

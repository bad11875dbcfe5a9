import { commandTags, similarTags, tagsBeginningWith } from '../postgres/sql/command-tags.ts';
import { tableAccesses } from '../facts.ts';
import { duration } from './duration.ts';
import { checkExpression } from './expression.ts';
import {
  boolean,
  integer,
  keyed,
  list,
  object,
  oneOf,
  set,
  show,
  text,
  type FieldReader,
  type Problems,
  type Read,
} from './fields.ts';
import { tryParseName } from './names.ts';
import { dnsLabel, labelSelector, name, namespace } from './object-names.ts';
import {
  ruleActions,
  type ApprovalTerms,
  type PostgresMatch,
  type Rule,
  type RuleAction,
  type RuleTarget,
  type Subject,
  type TableMatch,
} from './rules.ts';

const ruleName = dnsLabel('a name');
const hostOrPattern = text(
  'a host name, an address, or "*.example.com" for what is below it',
  /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$/,
);
const message = text('text without control characters', /^[\P{Cc}\t\n]+$/u, 1_024);
const userOrGroup = text('a name without control characters', /^\P{Cc}+$/u);
const maxTagLength = 63; // PostgreSQL's longest has 32
const approvalTimeout = duration('1s', '24h', '30m');

/** Reads one rule of a policy; `policyNamespace` is that of the policy, and undefined for one of the cluster. */
export function ruleOf(policyNamespace: string | undefined) {
  return (fields: FieldReader, problems: Problems): Rule => {
    const action = fields.required('action', oneOf(...ruleActions)) ?? 'Deny';
    const rule = {
      name: fields.required('name', ruleName) ?? '',
      where: ruleTarget(fields, problems),
      subjects: ruleSubjects(fields, problems, policyNamespace),
      postgres: fields.optional('postgres', object(postgresMatch(action))),
      when: fields.optional('when', condition),
      action,
      message: fields.optional('message', message),
      approval: fields.optional('approval', object(approvalTerms)),
    };
    fields.unsupported('http', 'mcp', 'ssh');
    if ((action === 'RequireApproval') !== fields.has('approval')) {
      const because = fields.has('approval') ? `${action} asks nobody` : 'missing';
      problems.add(fields.path('approval'), because);
    }
    return rule;
  };
}

function ruleTarget(fields: FieldReader, problems: Problems): RuleTarget {
  exactlyOne(fields, problems, ['backends', 'backendSelector', 'hosts']);
  const backends = fields.optional('backends', set(name, 1));
  const selector = fields.optional('backendSelector', object(labelSelector));
  const hosts = fields.optional('hosts', set(hostOrPattern, 1));
  if (selector) return { kind: 'backendSelector', selector };
  return hosts ? { kind: 'hosts', names: hosts } : { kind: 'backends', names: backends ?? [] };
}

function ruleSubjects(
  fields: FieldReader,
  problems: Problems,
  policyNamespace: string | undefined,
): Rule['subjects'] {
  exactlyOne(fields, problems, ['subjects', 'anySubject']);
  const subjects = fields.optional('subjects', list(object(subjectOf(policyNamespace)), 1, 32));
  const anybody = fields.optional('anySubject', (value, path) =>
    value === true ? value : problems.add(path, `got ${show(value)}, want true, or subjects`),
  );
  return anybody === true ? 'Anybody' : (subjects ?? []);
}

/** Reports what is missing at the first of the fields, and what is too much at the others. */
function exactlyOne(
  fields: FieldReader,
  problems: Problems,
  [first, ...others]: readonly [string, ...string[]],
): void {
  const given = [first, ...others].filter((field) => fields.has(field));
  const wanted = [first, ...others].join(', ');
  if (given.length === 0) problems.add(fields.path(first), `missing: want one of ${wanted}`);
  for (const field of given.slice(1))
    problems.add(fields.path(field), `want one of ${wanted}; ${given[0]} is there`);
}

function subjectOf(policyNamespace: string | undefined) {
  return (fields: FieldReader, problems: Problems): Subject => {
    const provider = fields.optional('provider', name);
    const users = fields.optional('users', set(userOrGroup, 1));
    const groups = fields.optional('groups', set(userOrGroup, 1));
    const account = object(serviceAccountOf(policyNamespace));
    const serviceAccounts = fields.optional('serviceAccounts', list(account, 1, 64));
    if (fields.has('serviceAccounts')) {
      for (const field of ['provider', 'users', 'groups']) {
        if (fields.has(field))
          problems.add(
            fields.path(field),
            'no token goes with serviceAccounts: want another subject',
          );
      }
      return { kind: 'workload', serviceAccounts: serviceAccounts ?? [] };
    }
    if (!fields.has('provider'))
      problems.add(fields.path('provider'), 'missing: want provider, or serviceAccounts');
    if (!fields.has('users') && !fields.has('groups'))
      problems.add(fields.path('users'), 'missing: want users or groups');
    return { kind: 'token', provider: provider ?? '', users: users ?? [], groups: groups ?? [] };
  };
}

/** In a namespace nobody but its own accounts can be told apart: one elsewhere of the same name is somebody else. */
function serviceAccountOf(policyNamespace: string | undefined) {
  return (fields: FieldReader, problems: Problems): { namespace: string; name: string } => {
    const written =
      policyNamespace === undefined
        ? fields.required('namespace', namespace)
        : fields.optional('namespace', namespace);
    if (policyNamespace !== undefined && written !== undefined && written !== policyNamespace) {
      const wanted = `want the policy’s own, ${show(policyNamespace)}`;
      problems.add(fields.path('namespace'), `got ${show(written)}, ${wanted}`);
    }
    return {
      namespace: written ?? policyNamespace ?? '',
      name: fields.required('name', name) ?? '',
    };
  };
}

function postgresMatch(action: RuleAction) {
  return (fields: FieldReader): PostgresMatch => ({
    commands: fields.optional('commands', set(commandOf(action), 1)),
    tables: fields.optional('tables', keyed('name', object(tableMatch), 1)),
    functions: fields.optional('functions', set(elementName, 1)),
    readOnly: fields.optional('readOnly', boolean),
  });
}

/**
 * Of an Allow, commands as they are; of the others also the words that several begin with, such as DROP. A word that no
 * command has would match nothing, and a Deny with a slip of the pen let everything through.
 */
function commandOf(action: RuleAction): Read<string> {
  return (value, path, problems) => {
    if (typeof value !== 'string' || value.length > maxTagLength)
      return problems.add(path, `got ${show(value)}, want a command of PostgreSQL`);
    if (value === '*' || commandTags.has(value)) return value;
    if (action !== 'Allow' && tagsBeginningWith(value).length > 0) return value;
    const similar = similarTags(value).slice(0, 3);
    const hint = similar.length > 0 ? `: did you mean ${similar.join(', ')}?` : '';
    const want = 'want a command of PostgreSQL in upper case, such as SELECT or CREATE TABLE, or *';
    return problems.add(path, `got ${show(value)}, ${want}${hint}`);
  };
}

// Unquoted upper case means lower case in SQL and itself in the catalogue: it has to be written in one of these ways.
const isLower = (written: string): boolean =>
  !/[A-Z]/.test(written.replaceAll(/"(?:[^"]|"")*"/g, ''));
const elementName = text(
  '"name", "schema.name", "schema.*" or "*", in lower case or double quotes',
  (written) => isLower(written) && tryParseName(written) !== undefined,
  260, // two names of PostgreSQL with every character a doubled quote
);

function tableMatch(fields: FieldReader): TableMatch {
  return {
    name: fields.required('name', elementName) ?? '',
    access: fields.optional('access', set(oneOf(...tableAccesses), 1)) ?? tableAccesses,
  };
}

const conditionText = text('a condition in CEL', /^[^]+$/, 2_048);

const condition: Read<string> = (value, path, problems) => {
  const read = conditionText(value, path, problems);
  const mistake = read === undefined ? undefined : checkExpression(read);
  return mistake === undefined ? read : problems.add(path, mistake);
};

function approvalTerms(fields: FieldReader): ApprovalTerms {
  return {
    groups: fields.required('groups', set(userOrGroup, 1, 32)) ?? [],
    count: fields.optional('count', integer(1, 10)) ?? 1,
    timeoutMs: fields.required('timeout', approvalTimeout) ?? 0,
    scope: fields.optional('scope', oneOf('Once', 'Statement', 'Session')) ?? 'Once',
    inTransaction: fields.optional('inTransaction', oneOf('Hold', 'Deny')) ?? 'Hold',
  };
}

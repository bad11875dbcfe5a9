import type { AskedWho, Question } from '#core/policy/question.ts';

/** What an operator on this machine may ask of a running sidecar: one line of JSON, answered by one. */
export type AdminRequest =
  | {
      readonly command: 'kill';
      /** Id of a session, or its beginning. */
      readonly session: string;
    }
  | { readonly command: 'explain'; readonly question: Question }
  | { readonly command: 'read'; readonly text: TextQuestion };

/** Of a text alone: what it does, whoever sends it. */
export type TextQuestion = Pick<Question, 'backend' | 'database' | 'text'>;

/** Too short a beginning would end whatever happens to be open. */
const sessionId = /^[0-9a-f]{6}[0-9a-f-]{0,30}$/;

/** Reads a request; undefined for what is none. */
export function tryParseRequest(line: string): AdminRequest | undefined {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch {
    return undefined; // whoever it is does not speak this protocol, and is not answered
  }
  const fields = tryFields(request);
  switch (fields?.get('command')) {
    case 'kill': {
      const session = fields.get('session');
      if (typeof session !== 'string' || !sessionId.test(session)) return undefined;
      return { command: 'kill', session };
    }
    case 'explain': {
      const given = tryFields(fields.get('question'));
      const text = tryText(given);
      const who = tryWho(given?.get('who'));
      return text && who && { command: 'explain', question: { ...text, who } };
    }
    case 'read': {
      const text = tryText(tryFields(fields.get('text')));
      return text && { command: 'read', text };
    }
    default:
      return undefined;
  }
}

type Fields = ReadonlyMap<string, unknown>;

function tryFields(value: unknown): Fields | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  return new Map(Object.entries(value));
}

function tryText(fields: Fields | undefined): TextQuestion | undefined {
  const [backend, text] = [fields?.get('backend'), fields?.get('text')];
  const database = tryOptional(fields?.get('database'));
  if (typeof backend !== 'string' || typeof text !== 'string' || !database) return undefined;
  return { backend, text, database: database.value };
}

function tryWho(value: unknown): AskedWho | undefined {
  const fields = tryFields(value);
  if (fields?.get('kind') === 'workload') return { kind: 'workload' };
  if (fields?.get('kind') !== 'token') return undefined;
  const [user, groups] = [fields.get('user'), fields.get('groups')];
  const [provider, issuer, onBehalfOf] = ['provider', 'issuer', 'onBehalfOf'].map((name) =>
    tryOptional(fields.get(name)),
  );
  if (typeof user !== 'string' || !isTexts(groups)) return undefined;
  if (!provider || !issuer || !onBehalfOf) return undefined;
  return {
    kind: 'token',
    user,
    groups,
    provider: provider.value,
    issuer: issuer.value,
    onBehalfOf: onBehalfOf.value,
  };
}

function tryOptional(value: unknown): { readonly value: string | undefined } | undefined {
  return value === undefined || typeof value === 'string' ? { value } : undefined;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

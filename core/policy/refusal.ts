import type { Refusal, Unreadable, UnreadableCause } from '../operation.ts';
import type { Verdict } from './decide.ts';
import { describeElement } from './elements.ts';

const maxNamed = 5;

/** Says to the agent why a verdict refuses what it wanted, and what can be done about it; `unreadable` is what could not be read. */
export function refusalOf(
  { recorded, message, uncovered, unreadable: because }: Verdict,
  session: string,
  unreadable?: Unreadable,
): Refusal {
  const { reason, policy, rule } = recorded;
  const explain = `chaperone explain ${session}`;
  const named = uncovered.slice(0, maxNamed).map(describeElement);
  const details = [
    ['reason', reason],
    ...(policy === undefined ? [] : ([['policy', policy]] as const)),
    ...(rule === undefined ? [] : ([['rule', rule]] as const)),
    ...named.map((element) => ['uncovered', element] as const),
    ['explain', explain],
  ] as const;
  if (unreadable?.error) {
    const { error } = unreadable;
    return { code: 'syntax-error', message: error.message, position: error.position };
  }
  if (because !== undefined) {
    return {
      code: because === 'too long' ? 'too-large' : 'unreadable',
      message: `this cannot be judged: ${because} (${policy ?? 'no policy'} enforces)`,
      hint: unreadableHints[because],
      details,
    };
  }
  if (reason === 'no-policy') {
    return {
      code: 'no-policy',
      message: 'no policy selects this pod (no-policy)',
      hint: `Ask the owner of the policy; the refusal is recorded in session ${session}.`,
      details,
    };
  }
  const by = rule === undefined ? `${policy ?? ''}` : `${policy ?? ''}, rule ${rule}`;
  const more = uncovered.length - named.length;
  const what =
    named.length === 0 ? '' : `: ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return {
    code: 'denied',
    message: `denied by ${by} (${reason})${message === undefined ? what : `: ${message}`}`,
    hint: `${nextSteps[reason]} The refusal is recorded in session ${session}; its owner sees why with: ${explain}`,
    details,
  };
}

const smaller = 'Send less in one statement, with its values as parameters.';
const later = 'Try again in a moment; if it stays so, tell the operator of the Chaperone sidecar.';

const unreadableHints: Readonly<Record<UnreadableCause, string>> = {
  'it is no SQL': 'Mend the statement.',
  'nul byte': 'Send it without the byte zero, which no text of PostgreSQL may hold.',
  'too long':
    'Send large values as parameters, which have no limit, or the statement in smaller pieces.',
  'too deep': 'Write it with less nesting; a long list or chain goes into a parameter or a table.',
  'too much in it': smaller,
  'took too long': smaller,
  'killed the parser': smaller,
  'not understood':
    'Write it in a plainer form; the operator of the Chaperone sidecar may report it.',
  'its encoding or its backslashes may mean something else':
    'Set client_encoding to UTF8 and standard_conforming_strings to on, or write it in ASCII without backslashes.',
  'a statement in it changes what those behind it mean':
    'Send its statements one at a time, each once the one before is done.',
  'its names may mean something else than when it was bound':
    'Bind it anew: what was bound before a change of settings or definitions is not run after it.',
  'its settings are not known': later,
  'it was not read in time': later,
  'too many rules for what it holds':
    'Send less in one text, a statement at a time; its owner may put the rules of the policies together.',
  busy: later,
  stopped: 'Connect again.',
};

const askOwner = 'Ask the owner of the policy.';

const nextSteps: Readonly<Record<Exclude<Verdict['recorded']['reason'], 'no-policy'>, string>> = {
  'default-action': askOwner,
  observe: askOwner,
  unreadable: askOwner,
  rule: 'A rule forbids this; do it another way, or ask the owner of the policy.',
  'not-covered':
    'Every command, table and function of a statement has to be allowed; leave out what is not, or ask the owner of the policy.',
  error:
    'A rule could not be evaluated over this statement; ask the owner of the policy to mend it.',
  opaque:
    'What such a statement runs cannot be read before it runs; send its statements themselves instead.',
  'approval-unavailable': 'This needs an approval, and nobody can give one here yet.',
  'pinned-setting':
    'The gateway has set this setting at login; leave it as it is. What cannot be read before it runs is refused as well.',
  limit: 'Use less, or try again later.',
  empty: askOwner,
  'unknown-host': 'No Backend has this host and port; ask the platform team for one.',
  'ambiguous-host':
    'The address stands for several Backends; ask the platform team for addresses of their own.',
  'denied-address':
    'This address is not for agents; ask the platform team for a Backend that names it.',
};

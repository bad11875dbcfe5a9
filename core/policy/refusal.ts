import type { Refusal, Unreadable } from '../operation.ts';
import type { Verdict } from './decide.ts';
import { describeElement } from './elements.ts';

const maxNamed = 5;

/** Says to the agent why a verdict refuses what it wanted, and what can be done about it; `unreadable` is what could not be read. */
export function refusalOf(
  { recorded, message, uncovered }: Verdict,
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
  if (unreadable && reason === 'unreadable') {
    const { because } = unreadable;
    return {
      code: because === 'too long' ? 'too-large' : 'unreadable',
      message: `this cannot be judged: ${because} (${policy ?? 'no policy'} enforces)`,
      hint: unreadableHints.get(because) ?? 'Send its statements one at a time, in a plain form.',
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

const unreadableHints: ReadonlyMap<string, string> = new Map([
  ['too long', 'Send large values as parameters, which have no limit, or the statement in smaller pieces.'],
]); // prettier-ignore

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

import type { Facts } from '../facts.ts';
import { workloadUser, type Principal } from '../identity/principal.ts';
import type { Unreadable } from '../operation.ts';
import type { NameUse } from '../postgres/sql/survey.ts';
import type { RecordedPrincipal } from '../record/kinds.ts';
import { explain, type Explanation } from './explain.ts';
import type { CompiledPolicies } from './compile.ts';
import { Judge } from './judge.ts';
import type { Bundle } from './resolve.ts';

/** Asks what would become of a text, were somebody to send it. Plain data, which passes as JSON. */
export interface Question {
  /** Name of a Backend. */
  readonly backend: string;
  /** As an agent names it at its login; without one no catalogue says what names stand for. */
  readonly database?: string | undefined;
  readonly text: string;
  readonly who: AskedWho;
}

/** Of whom is asked. */
export type AskedWho =
  | { readonly kind: 'workload' }
  | {
      readonly kind: 'token';
      readonly user: string;
      readonly groups: readonly string[];
      /** An IdentityProvider; where there is one alone, it need not be named. */
      readonly provider?: string | undefined;
      /** Default: that of the provider. */
      readonly issuer?: string | undefined;
      readonly onBehalfOf?: string | undefined;
    };

/** What is understood of a protocol that nobody reads. */
export const unreadProtocol: Understood = {
  facts: { protocol: 'TCP' },
  hasCatalogue: false,
  unknown: [],
};

/** What a text does, as far as that can be said of it alone. */
export interface Understood {
  readonly facts: Facts | Unreadable;
  /** Whether a catalogue has said what its names stand for. */
  readonly hasCatalogue: boolean;
  /** Names that the catalogue does not have. */
  readonly unknown: readonly NameUse[];
}

/** What would become of it and why, or what is wrong with the question. */
export type Answer =
  | {
      readonly explanation: Explanation;
      readonly understood: Understood;
      /** Digest of the policies that were asked. */
      readonly revision: string;
      readonly who: Principal;
      /** What else the asker should know, as sentences. */
      readonly notes: readonly string[];
      readonly problem?: never;
    }
  | { readonly problem: string; readonly explanation?: never };

/** Policies to put questions to. */
export interface Asked {
  readonly bundle: Bundle;
  readonly compiled: CompiledPolicies;
}

/** Answers a question about a text of which is known what it does. */
export function answer(
  { bundle, compiled }: Asked,
  question: Question,
  understood: Understood,
): Answer {
  const { backend } = question;
  if (!bundle.backends.has(backend)) {
    return { problem: noSuch('Backend', backend, [...bundle.backends.keys()]) };
  }
  const identified = identify(question.who, bundle);
  if (identified.problem !== undefined) return identified;
  const { who } = identified;
  const asker = { backend, who, workload: bundle.workload };
  const isRead = new Judge(compiled, asker).readsFacts;
  return {
    explanation: explain(compiled, asker, isRead ? understood.facts : unasked(understood.facts)),
    understood,
    revision: compiled.revision,
    who,
    notes: notesOn(who, bundle, isRead),
  };
}

/** Where no rule asks what a text does, it passes unread, be it readable or not. */
function unasked(facts: Facts | Unreadable): Facts {
  const isPlain = facts.protocol === 'Postgres' && facts.statements.length > 0;
  return isPlain || facts.protocol === 'TCP' ? facts : { protocol: 'TCP' };
}

function notesOn(who: Principal, { policy }: Bundle, isRead: boolean): readonly string[] {
  const notes: string[] = [];
  if (!policy) notes.push('no policy selects this pod, so nobody can log in');
  if (policy && !isRead)
    notes.push('no rule is about this asker at this backend, so texts are not read');
  if (policy?.identity === 'None' && who.kind === 'token')
    notes.push('no policy asks for a token: whoever logs in counts as the workload');
  if (policy?.identity === 'Required' && who.kind === 'workload')
    notes.push('a policy asks for a token: the workload cannot log in as itself');
  return notes;
}

/** Finds out who is meant; the name of the workload's own account means the workload, unless a provider is named. */
export function identify(
  who: AskedWho,
  { workload, providers }: Pick<Bundle, 'workload' | 'providers'>,
): { readonly who: Principal; readonly problem?: never } | { readonly problem: string } {
  const own = workloadUser(workload);
  if (who.kind === 'workload' || (who.provider === undefined && who.user === own)) {
    return { who: { kind: 'workload', user: own } };
  }
  const { user, groups, onBehalfOf } = who;
  const [first, another] = providers;
  if (who.provider === undefined && another) {
    const names = providers.map(({ name }) => name).join(', ');
    return { problem: `which IdentityProvider vouches for ${user}? There are: ${names}` };
  }
  const provider = who.provider ?? first?.name;
  const issuer = who.issuer ?? providers.find(({ name }) => name === provider)?.issuer;
  if (provider === undefined || issuer === undefined) {
    return {
      problem: noSuch(
        'IdentityProvider',
        provider ?? '',
        providers.map(({ name }) => name),
      ),
    };
  }
  const acting = onBehalfOf === undefined ? {} : { onBehalfOf };
  return {
    who: {
      kind: 'token',
      provider,
      issuer,
      user,
      groups,
      ...acting,
      expiresAt: Number.MAX_SAFE_INTEGER,
    },
  };
}

/** Says of whom a record is, in the words of a question. */
export function whoOfRecord(principal: RecordedPrincipal): AskedWho {
  if (principal.kind === 'workload') return { kind: 'workload' };
  const { user, groups = [], provider, issuer, onBehalfOf } = principal;
  return { kind: 'token', user, groups, provider, issuer, onBehalfOf };
}

/** Says that there is no such thing, and what there is. */
export function noSuch(
  kind: 'Backend' | 'IdentityProvider',
  name: string,
  known: readonly string[],
): string {
  const there = known.length === 0 ? 'there is none' : `there are: ${known.join(', ')}`;
  return `there is no ${kind} "${name}" that this pod may use; ${there}`;
}

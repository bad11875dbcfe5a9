import type { TableAccess } from '../facts.ts';
import type { LabelSelector } from './resources.ts';

/** What a rule does with what it matches. A RequireApproval that matches is a Deny until somebody can approve. */
export const ruleActions = ['Allow', 'Deny', 'RequireApproval'] as const;
/** One of `ruleActions`. */
export type RuleAction = (typeof ruleActions)[number];

/** One rule of a policy; names are unique in it. */
export interface Rule {
  readonly name: string;
  readonly where: RuleTarget;
  readonly subjects: readonly Subject[] | 'Anybody';
  /** Undefined: whatever is done there. */
  readonly postgres: PostgresMatch | undefined;
  /** CEL over the same facts, true where the rule is to count. */
  readonly when: string | undefined;
  readonly action: RuleAction;
  /** Shown to the agent with a refusal. */
  readonly message: string | undefined;
  /** Of RequireApproval alone. */
  readonly approval: ApprovalTerms | undefined;
}

/** Which Backends a rule is about. */
export type RuleTarget =
  | { readonly kind: 'backends'; readonly names: readonly string[] }
  | { readonly kind: 'backendSelector'; readonly selector: LabelSelector }
  | { readonly kind: 'hosts'; readonly names: readonly string[] };

/** Whom a rule is about: somebody whom a token names, in one of the ways it gives; or a workload's account. */
export type Subject =
  | {
      readonly kind: 'token';
      readonly provider: string;
      /** Empty: not given. At least one of the two is; either is enough. */
      readonly users: readonly string[];
      readonly groups: readonly string[];
    }
  | {
      readonly kind: 'workload';
      readonly serviceAccounts: readonly { readonly namespace: string; readonly name: string }[];
    };

/**
 * Elements of statements. A Deny matches a statement with any of them; an Allow covers those of them that a statement has.
 * Without any list it is about whole statements.
 */
export interface PostgresMatch {
  /** In upper case, `*` for every command that is no opaque one; undefined where not given. */
  readonly commands: readonly string[] | undefined;
  readonly tables: readonly TableMatch[] | undefined;
  /** `name` in any schema, `schema.name`, `schema.*` or `*`. */
  readonly functions: readonly string[] | undefined;
  /** The rule is about such statements alone. */
  readonly readOnly: boolean | undefined;
}

/** A table of a rule, with the ways of using it that are meant. */
export interface TableMatch {
  /** `name` in any schema, `schema.name`, `schema.*` or `*`, as the catalogue writes names. */
  readonly name: string;
  readonly access: readonly TableAccess[];
}

/** What an approval asks for. */
export interface ApprovalTerms {
  readonly groups: readonly string[];
  readonly count: number;
  readonly timeoutMs: number;
  readonly scope: 'Once' | 'Statement' | 'Session';
  readonly inTransaction: 'Hold' | 'Deny';
}

/** Bounds of use; Infinity where none was set. */
export interface Limits {
  /** Open at a time, of one pod at one Backend. */
  readonly sessions: number;
  readonly sessionDurationMs: number;
  /** Without an operation. */
  readonly idleMs: number;
  readonly requestDurationMs: number;
  readonly concurrentRequests: number;
  readonly statementsPerMinute: number;
  readonly rowsPerRequest: number;
  readonly bytesPerRequest: number;
  readonly rowsPerSession: number;
  readonly bytesPerSession: number;
  readonly rowsPerHour: number;
  readonly bytesPerHour: number;
}

/** Limits that nobody has set. */
export const noLimits: Limits = {
  sessions: Infinity,
  sessionDurationMs: Infinity,
  idleMs: Infinity,
  requestDurationMs: Infinity,
  concurrentRequests: Infinity,
  statementsPerMinute: Infinity,
  rowsPerRequest: Infinity,
  bytesPerRequest: Infinity,
  rowsPerSession: Infinity,
  bytesPerSession: Infinity,
  rowsPerHour: Infinity,
  bytesPerHour: Infinity,
};

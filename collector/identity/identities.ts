import type { WriterIdentity } from '#core/control.ts';

/** What people may do with sessions: verbs of Kubernetes on `sessions.chaperone.dev`. */
export type Right =
  /** Read. */
  | 'get'
  /** Order an erasure. */
  | 'delete'
  /** Order a legal hold, or lift it. */
  | 'update';

/** Somebody who reads or orders. */
export interface Person {
  /** As whoever vouches for the token names them, such as `system:serviceaccount:ops:auditor`. */
  readonly name: string;
  /** Whether the name is one person's, rather than of all who have the token. */
  readonly isOwn: boolean;
}

/** Who may write, who may read and who may order, by the `Authorization` of a request. No kind of token does for another. */
export interface Identities {
  /**
   * Says whose records a bearer sends: the one place that decides it.
   * @throws HttpProblem `unauthorized`, `identity-unavailable`.
   */
  writer(authorization: string | undefined): Promise<WriterIdentity>;
  /**
   * Says who asks, where they have the right to.
   * @throws HttpProblem `unauthorized`, `forbidden`, `identity-unavailable`.
   */
  person(authorization: string | undefined, right: Right): Promise<Person>;
}

/** The pod that a sidecar stands for: known to the platform, never taken from what the agent says. */
export interface Workload {
  readonly pod: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: ReadonlyMap<string, string>;
}

/** Who asks: the bearer of a verified token, or, where no policy asks for one, the workload itself. */
export type Principal =
  | {
      readonly kind: 'token';
      /** The IdentityProvider that vouches for it. */
      readonly provider: string;
      readonly issuer: string;
      readonly user: string;
      readonly groups: readonly string[];
      /** On whose behalf it acts (RFC 8693 `act`), where the provider maps such a claim. */
      readonly onBehalfOf?: string;
      /** Unix time in seconds at which the token, and with it the session, ends. */
      readonly expiresAt: number;
    }
  | { readonly kind: 'workload'; readonly user: string };

/** Returns the name by which Kubernetes knows a pod's service account. */
export function workloadUser(workload: Workload): string {
  return `system:serviceaccount:${workload.namespace}:${workload.serviceAccount}`;
}

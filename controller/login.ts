import type { BackendCredential } from '#core/control.ts';
import type { Backend } from '#core/policy/resources.ts';
import { keys } from '../webhook/names.ts';

/** A Secret of the credentials namespace. */
export interface KeptCredential {
  readonly name: string;
  /** Hosts of upstreams that it may be sent to, by annotation. */
  readonly hosts: readonly string[];
  /** Undefined where its keys are those of no login. */
  readonly byType: ReadonlyMap<BackendCredential['type'], BackendCredential>;
}

/** The login that a Backend asks for, or why sidecars cannot have it, in words. */
export type FoundLogin =
  | { readonly kind: 'login'; readonly secretName: string; readonly login: BackendCredential }
  /** It asks for none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'no-secret' | 'no-keys' | 'other-host'; readonly problem: string };

/** Finds the login of a Backend among the Secrets that there are. */
export function findLogin(
  { spec }: Backend,
  credential: (name: string) => KeptCredential | undefined,
): FoundLogin {
  if (!spec.credential) return { kind: 'none' };
  const { secretName, type } = spec.credential;
  const kept = credential(secretName);
  const login = kept?.byType.get(type);
  const { host } = spec.upstream;
  if (!kept) return { kind: 'no-secret', problem: `there is no Secret ${secretName} in the namespace of credentials` }; // prettier-ignore
  if (!login) return { kind: 'no-keys', problem: `the Secret ${secretName} has not the keys of a ${type}` }; // prettier-ignore
  if (kept.hosts.includes(host.toLowerCase())) return { kind: 'login', secretName, login };
  const problem = `the Secret ${secretName} may not be sent to ${host}: its annotation ${keys.hosts} names it not`;
  return { kind: 'other-host', problem };
}

import { ChaperoneError } from '#core/errors.ts';
import type { BackendCredential, SidecarSecrets } from '#core/control.ts';
import type { CredentialRef } from '#core/policy/resources.ts';

/** The only keeper of backend credentials: in memory, handed out by name to the login that needs one. */
export class Credentials {
  #byName: ReadonlyMap<string, BackendCredential>;

  constructor(credentials: SidecarSecrets['credentials']) {
    this.#byName = new Map(Object.entries(credentials));
  }

  /** Logins from now on use these, and no others. */
  replace(credentials: SidecarSecrets['credentials']): void {
    this.#byName = new Map(Object.entries(credentials));
  }

  /** What there is, without what makes it secret. */
  get types(): ReadonlyMap<string, CredentialRef['type']> {
    return new Map([...this.#byName].map(([name, { type }]) => [name, type]));
  }

  /** @throws ChaperoneError `backend-login-failed` when there is none of this name and type. */
  get({ secretName, type }: CredentialRef): BackendCredential {
    const credential = this.#byName.get(secretName);
    if (credential?.type !== type)
      throw new ChaperoneError('backend-login-failed', `no credential named ${secretName}`);
    return credential;
  }
}

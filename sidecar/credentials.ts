import { ChaperoneError } from '#core/errors.ts';
import type { SidecarSecrets } from '#core/control.ts';

/** The only keeper of backend credentials: in memory, handed out by name to the login that needs one. */
export class Credentials {
  readonly #byName: ReadonlyMap<string, { readonly username: string; readonly password: string }>;

  constructor(credentials: SidecarSecrets['credentials']) {
    this.#byName = new Map(Object.entries(credentials));
  }

  get names(): ReadonlySet<string> {
    return new Set(this.#byName.keys());
  }

  /** @throws ChaperoneError `backend-login-failed` when there is none of this name. */
  get(name: string): { readonly username: string; readonly password: string } {
    const credential = this.#byName.get(name);
    if (!credential)
      throw new ChaperoneError('backend-login-failed', `no credential named ${name}`);
    return credential;
  }
}

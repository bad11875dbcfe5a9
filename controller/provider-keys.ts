import type { JWK } from 'jose';
import type { Logger } from 'pino';
import type { IdentityProvider } from '#core/policy/resources.ts';
import { fetchKeys } from '../runtime/issuer-keys.ts';
import { KeyRefresh } from '../runtime/key-refresh.ts';

/** Public keys of the issuers that IdentityProviders name, fetched once for all sidecars. */
export class ProviderKeyStore {
  readonly #keys: KeyRefresh;
  #providers: ReadonlyMap<string, IdentityProvider> = new Map();

  constructor(onKeys: () => void, log: Logger, signal: AbortSignal) {
    this.#keys = new KeyRefresh({
      fetch: (provider, stopped) => fetchKeys(provider, new Map(), stopped),
      onKeys,
      onFailure: (provider, err) =>
        log.warn({ provider, err }, "an issuer's keys cannot be fetched"),
      nowMs: () => performance.now(),
      signal,
    });
  }

  /** Fetches those of providers that are new, and forgets those of others. */
  track(providers: readonly IdentityProvider[]): void {
    this.#providers = new Map(providers.map((provider) => [provider.metadata.name, provider]));
    const resolved = providers.map(resolvedOf);
    this.#keys.retain(resolved);
    void this.#keys.track(resolved); // never rejects
  }

  keysOf(name: string): readonly JWK[] {
    const provider = this.#providers.get(name);
    return provider ? this.#keys.keysOf(resolvedOf(provider)) : [];
  }

  /** Fetches a provider's keys anew, at most once a minute. */
  async refresh(name: string): Promise<boolean> {
    const provider = this.#providers.get(name);
    return provider ? this.#keys.refresh(resolvedOf(provider)) : false;
  }
}

function resolvedOf({
  metadata,
  spec,
}: IdentityProvider): { readonly name: string } & IdentityProvider['spec'] {
  // prettier-ignore
  return { name: metadata.name, ...spec };
}

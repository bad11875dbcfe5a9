import { isIP } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { ServerKeyPair } from '#core/control.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { CertificateWorker } from './certificate-worker.ts';

/** What agents are shown that speak TLS to the sidecar. */
export interface AgentTls {
  /** For an agent that names no server: it has dialled this backend. Rejects when there can be no certificate. */
  contextFor(backend: ResolvedBackend): Promise<SecureContext>;
  /** For one that names a server; undefined: what the backend's is. Rejects like the other. */
  contextForName(name: string): Promise<SecureContext | undefined>;
}

const minVersion = 'TLSv1.2';

/** One certificate for everybody, as a laptop's agents are told to trust. */
export function oneCertificate(pair: ServerKeyPair): AgentTls {
  const context = createSecureContext({ ...pair, minVersion });
  return { contextFor: async () => context, contextForName: async () => undefined };
}

const maxContexts = 256;
const maxNames = 64; // of one certificate
/** Under these agents dial in explicit mode. */
const ownNames = ['localhost', '127.0.0.1', '::1'];
const renewMs = 15 * 86_400_000; // half of what a leaf lives
const dnsName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/; // prettier-ignore

interface Made {
  readonly context: Promise<SecureContext>;
  readonly untilMs: number;
}

/** Certificates by the pod's own authority, each made when it is first needed, under the name that an agent expects. */
export class PodTls implements AgentTls {
  readonly #authority: ServerKeyPair;
  readonly #worker: CertificateWorker;
  readonly #made = new Map<string, Made>();

  constructor(authority: ServerKeyPair, worker: CertificateWorker) {
    this.#authority = authority;
    this.#worker = worker;
  }

  contextFor({ hosts }: ResolvedBackend): Promise<SecureContext> {
    const names = hosts.map((host) => host.toLowerCase()).filter(isName);
    return this.#context([...names.slice(0, maxNames), ...ownNames]);
  }

  async contextForName(name: string): Promise<SecureContext | undefined> {
    const asked = name.toLowerCase();
    return isName(asked) ? this.#context([asked]) : undefined;
  }

  #context(names: readonly string[]): Promise<SecureContext> {
    const key = names.join(' ');
    const now = Date.now();
    const kept = this.#made.get(key);
    if (kept && now < kept.untilMs) return kept.context;
    this.#made.delete(key);
    for (const oldest of this.#made.keys()) {
      if (this.#made.size < maxContexts) break;
      this.#made.delete(oldest);
    }
    const context = this.#make(names, now);
    this.#made.set(key, { context, untilMs: now + renewMs });
    context.catch(() => this.#made.delete(key)); // the next agent tries again
    return context;
  }

  async #make(names: readonly string[], nowMs: number): Promise<SecureContext> {
    const leaf = await this.#worker.pair({
      kind: 'leaf',
      authority: this.#authority,
      names,
      nowMs,
    });
    return createSecureContext({ ...leaf, minVersion });
  }
}

function isName(text: string): boolean {
  return isIP(text) !== 0 || dnsName.test(text);
}

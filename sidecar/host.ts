import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { BackendCredential } from '#core/control.ts';
import type { Attachment } from '#core/bundle-message.ts';
import { verifyToken, type TokenFault } from '#core/identity/token.ts';
import { workloadUser, type Principal, type Workload } from '#core/identity/principal.ts';
import { isRefusal, type Content, type Refusal } from '#core/operation.ts';
import { compilePolicies, type CompiledPolicies } from '#core/policy/compile.ts';
import type { Asked } from '#core/policy/question.ts';
import type { Bundle, ProviderKeys, ResolvedBackend } from '#core/policy/resolve.ts';
import type { CredentialRef } from '#core/policy/resources.ts';
import { decideUnknownHost } from '#core/policy/unknown-host.ts';
import type { EndReason, RecordedVerdict } from '#core/record/kinds.ts';
import { CancelRegistry } from './cancel-registry.ts';
import type { SidecarConfig } from './config.ts';
import type { Credentials } from './credentials.ts';
import type { LaneHost, Session, Target } from './lane.ts';
import { Clearance, type Commits } from './clearance.ts';
import type { Ready, Stop } from './ready.ts';
import { LoginFailures, type CountedFailure, type LoginFailureReason } from './login-failures.ts';
import type { Metrics } from './metrics.ts';
import { Databases } from './postgres/catalogue/databases.ts';
import type { Grammar } from './postgres/grammar/grammar.ts';
import { LiveSession } from './session.ts';
import type { SpoolWriter } from './spool/writer.ts';
import { LookupLog } from './dns/lookup-log.ts';
import type { Lookup } from './dns/name-service.ts';
import type { AgentTls } from './trust/agent-tls.ts';
import { dial, type Routes } from './upstream.ts';
import { limitsOf, unlimited, Usage, type LimitsInForce } from './usage.ts';

export interface HostOptions {
  readonly config: SidecarConfig;
  readonly writer: SpoolWriter;
  readonly commits: Commits;
  readonly credentials: Credentials;
  readonly grammar: Grammar;
  readonly tls: AgentTls;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly routes: Routes;
  /** Fetches an issuer's keys anew when a token names an unknown one; bounded. */
  readonly refreshKeys: (provider: string) => Promise<readonly ProviderKeys[] | undefined>;
}

const failuresMs = 60_000;
const alpnProtocols = ['postgresql']; // the only protocol that agents speak inside TLS

const noPolicy: Refusal = {
  code: 'no-policy',
  message: 'no policy selects this pod, so nothing is allowed',
  hint: 'Ask the platform team for an AuditPolicy that selects this pod.',
};

// One text for every way in which a login can fail: it tells an attacker nothing about tokens, keys or users.
const loginFailed: Refusal = {
  code: 'login-failed',
  message: 'the login was not accepted',
  hint: 'Present a current token of a trusted issuer as the password.',
};

// The policies of a pod whose controller is away may have been withdrawn long ago.
const outdated: Refusal = {
  code: 'no-policy',
  message: 'the gateway has not heard of its policies for too long, so nothing is allowed',
  hint: 'Ask the platform team why the sidecar does not reach its controller.',
};

const noPolicies: CompiledPolicies = { revision: '', policies: [], backends: new Map() };

/** What lanes may do: identify, open sessions, dial. Keeps the sessions that are open and the policies in force. */
export class Host implements LaneHost {
  readonly cancels = new CancelRegistry();
  readonly databases = new Databases();
  readonly #options: HostOptions;
  readonly #clearance: Clearance;
  readonly #sessions = new Set<LiveSession>();
  readonly #failures = new LoginFailures();
  readonly #failureTimer: NodeJS.Timeout;
  readonly #workload: Workload;
  readonly #usage = new Usage();
  readonly #lookups: LookupLog;
  #bundle: Bundle | undefined;
  #limits: LimitsInForce = unlimited;
  #compiled: CompiledPolicies = noPolicies;
  #attachment: Attachment | undefined;
  #without: Refusal = noPolicy;
  #draining = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#workload = options.config.workload;
    this.#clearance = new Clearance({
      writer: options.writer,
      commits: options.commits,
      delivery: () => this.#bundle?.policy?.delivery ?? 'Spool',
    });
    this.#lookups = new LookupLog({ writer: options.writer, clearance: this.#clearance });
    this.#failureTimer = setInterval(() => {
      this.#recordFailures(this.#failures.due(Date.now()));
      this.#lookups.endMinute();
    }, failuresMs);
  }

  get loginTimeoutMs(): number {
    return this.#options.config.loginTimeoutMs;
  }

  get grammar(): Grammar {
    return this.#options.grammar;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  get bundle(): Bundle | undefined {
    return this.#bundle;
  }

  /** Policies in force, for whoever asks what they would decide. */
  get asked(): Asked | undefined {
    return this.#bundle && { bundle: this.#bundle, compiled: this.#compiled };
  }

  /**
   * Puts a bundle in force: from the next operation on, and at once for sessions that lost their access. Sessions that begin
   * under it are recorded with how far the pod is held to the sidecar, where that is known.
   */
  apply(bundle: Bundle, attachment?: Attachment): void {
    const { revision } = bundle;
    this.#attachment = attachment;
    if (revision !== this.#bundle?.revision) {
      const fields = { kind: 'policy.changed', revision } as const;
      this.#options.writer.append({ ending: false, seal: () => ({ fields }) });
    }
    // The same policies with new keys of an issuer: what was decided stays decided.
    if (revision !== this.#compiled.revision) this.#compiled = compilePolicies(bundle);
    this.#bundle = bundle;
    this.#limits = limitsOf(bundle.policy);
    for (const session of this.#sessions) {
      const undeclared = session.target.undeclared?.verdict();
      if (undeclared?.action !== 'Deny' && keepsAccess(session, bundle)) session.policiesChanged();
      else session.stop(withdrawn);
    }
  }

  /** Puts the bundle out of force, since nobody knows any more whether it is right: until the next one nothing passes. */
  lapse(): void {
    this.#bundle = undefined;
    this.#without = outdated;
    for (const session of this.#sessions) session.stop(lapsed);
  }

  /** What becomes of a name or an address that no Backend has. */
  unknownHost(): RecordedVerdict {
    return decideUnknownHost(this.#bundle?.policy, this.#bundle?.revision ?? '');
  }

  /** Records that an agent asked for a name that policy does not know. */
  recordLookup(lookup: Lookup, verdict: RecordedVerdict): Ready {
    return this.#lookups.record(lookup, verdict);
  }

  /** Records how many packets the rules of the pod have refused since its network began. */
  recordRefused(packets: number, dropped: () => void): void {
    this.#options.writer.append({
      ending: false,
      dropped,
      seal: () => ({ fields: { kind: 'packets.refused', packets } }),
    });
  }

  tokenPolicy(): 'None' | 'Optional' | 'Required' | Refusal {
    return this.#bundle?.policy?.identity ?? this.#refusal();
  }

  async identify(target: Target, presented: string | undefined): Promise<Principal | Refusal> {
    const policy = this.tokenPolicy();
    if (typeof policy === 'object') {
      this.refused(target, 'no policy');
      return policy;
    }
    const given = presented !== undefined && presented !== '';
    if (policy === 'None' || (policy === 'Optional' && !given)) {
      return { kind: 'workload', user: workloadUser(this.#workload) };
    }
    const reason = given ? await this.#verify(presented) : 'no token';
    if (typeof reason === 'object') {
      this.#options.metrics.logins.inc({ outcome: 'accepted' });
      return reason;
    }
    this.refused(target, reason);
    return loginFailed;
  }

  async open(who: Principal, target: Target, login?: Content): Promise<Session | Refusal> {
    const bundle = this.#bundle;
    if (!bundle?.policy) {
      this.refused(target, 'no policy');
      return this.#refusal();
    }
    if (this.#draining) return draining.refusal;
    if (this.#sessions.size >= this.#options.config.maxSessions) {
      this.refused(target, 'too many sessions');
      return tooMany;
    }
    // The login took its time: what it was allowed when it began may be withdrawn by now.
    if (!keepsAccess({ who, target }, bundle)) return withdrawn.refusal;
    // What no Backend has shares the limits: agents can dial as many addresses as they like.
    const limited = target.undeclared ? '' : target.backend.name;
    const use = this.#usage.open(limited, this.#limits);
    if (isRefusal(use)) {
      this.refused(target, 'session limit');
      return use;
    }
    const session = new LiveSession({
      writer: this.#options.writer,
      clearance: this.#clearance,
      bundle: () => this.#bundle ?? bundle,
      compiled: () => this.#compiled,
      attachment: this.#attachment,
      who,
      target,
      login,
      use,
      limits: () => this.#limits,
      onEnd: (ended) => this.#sessions.delete(ended),
      onVerdict: (verdict) => {
        this.#options.metrics.totals[verdict === 'Allow' ? 'allowed' : 'denied'] += 1;
      },
    });
    this.#sessions.add(session);
    const stop = await session.cleared();
    if (!stop) return session;
    session.end(stop.reason);
    return stop.refusal;
  }

  dial(backend: ResolvedBackend, signal: AbortSignal): Promise<Socket> {
    return dial(backend, this.#options.routes, signal);
  }

  get trustsLoopback(): boolean {
    return this.#options.routes.trustsLoopback;
  }

  credential(ref: CredentialRef): BackendCredential {
    return this.#options.credentials.get(ref);
  }

  warn(target: Target, error: Error): void {
    const { name } = target.backend;
    this.#options.log.warn({ backend: name, err: error }, 'a connection to a backend failed');
  }

  refused({ client, backend }: Target, reason: LoginFailureReason): void {
    this.#options.metrics.logins.inc({ outcome: 'refused' });
    const failure = {
      source: client.address,
      protocol: backend.protocol,
      backend: backend.name,
      reason,
    };
    this.#recordFailures(this.#failures.note(failure, Date.now()));
  }

  async secure(agent: Socket, backend: ResolvedBackend): Promise<TLSSocket> {
    const { tls } = this.#options;
    return new TLSSocket(agent, {
      isServer: true,
      secureContext: await tls.contextFor(backend),
      SNICallback: (name, done) => {
        tls.contextForName(name).then((context) => done(null, context), done);
      },
      ALPNProtocols: alpnProtocols,
    });
  }

  /** Ends the session whose id begins so, as an operator asks. Returns the ids that do: of several none is ended. */
  kill(prefix: string): readonly string[] {
    const found = [...this.#sessions].filter(({ id }) => id.startsWith(prefix));
    if (found.length === 1) found[0]?.stop(killed);
    return found.map(({ id }) => id);
  }

  /** Stops every session and refuses new ones. */
  drain(): void {
    this.#draining = true;
    this.databases.stop();
    for (const session of this.#sessions) session.stop(draining);
    clearInterval(this.#failureTimer);
    this.#recordFailures(this.#failures.due());
    this.#lookups.endMinute();
  }

  /** Why nothing passes while no policy selects the pod. */
  #refusal(): Refusal {
    return this.#bundle ? noPolicy : this.#without;
  }

  async #verify(token: string): Promise<Principal | TokenFault> {
    const first = await verifyToken(token, this.#bundle?.providers ?? [], Date.now() / 1000);
    if (first.ok) return first.principal;
    if (first.unknownKeyOf === undefined) return first.reason;
    const refreshed = await this.#options.refreshKeys(first.unknownKeyOf);
    if (!refreshed) return first.reason;
    const second = await verifyToken(token, refreshed, Date.now() / 1000);
    return second.ok ? second.principal : second.reason;
  }

  #recordFailures(failures: readonly CountedFailure[]): void {
    for (const { source, ...rest } of failures) {
      this.#options.log.info({ 'client.address': source, ...rest }, 'a login was refused');
      this.#options.writer.append({
        ending: false,
        seal: () => ({ fields: { kind: 'auth.failed', 'client.address': source, ...rest } }),
      });
    }
  }
}

const draining = stop('draining', 'draining', 'the gateway is shutting down', 'Connect again.');
const killed: Stop = {
  ...stop('session-ended', 'killed', 'an operator has ended this session', 'Ask the operator.'),
  urgent: true,
};
const withdrawn = stop(
  'session-ended',
  'access-withdrawn',
  'access to this backend was withdrawn',
  'Ask the owner of the policy.',
);
const lapsed = { refusal: outdated, reason: 'access-withdrawn' } as const;
const tooMany: Refusal = {
  code: 'too-many-connections',
  message: 'the gateway serves as many sessions as it may',
  hint: 'Close sessions that are not needed, or try again later.',
};

function stop(code: Refusal['code'], reason: EndReason, message: string, hint: string): Stop {
  return { refusal: { code, message, hint }, reason };
}

function keepsAccess(session: Pick<LiveSession, 'who' | 'target'>, bundle: Bundle): boolean {
  const { who, target } = session;
  if (!bundle.policy || !(target.undeclared || leadsThere(target, bundle))) return false;
  if (who.kind === 'workload') return bundle.policy.identity !== 'Required';
  return bundle.providers.some(
    (provider) => provider.name === who.provider && provider.issuer === who.issuer,
  );
}

function leadsThere({ backend }: Target, { backends }: Bundle): boolean {
  const now = backends.get(backend.name);
  const { host, port } = backend.upstream;
  return now?.upstream.host === host && now.upstream.port === port;
}

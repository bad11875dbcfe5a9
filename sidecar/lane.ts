import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ErrorCode } from '#core/errors.ts';
import type { BackendCredential } from '#core/control.ts';
import type { CredentialRef } from '#core/policy/resources.ts';
import type { Content, Operation, RecordRef, Refusal } from '#core/operation.ts';
import type { Channel, EndReason, RecordedVerdict } from '#core/record/kinds.ts';
import type { Principal } from '#core/identity/principal.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { CancelRegistry } from './cancel-registry.ts';
import type { Databases } from './postgres/catalogue/databases.ts';
import type { Grammar } from './postgres/grammar/grammar.ts';
import type { LoginFailureReason } from './login-failures.ts';
import type { Permit } from './gate.ts';
import type { Ready } from './ready.ts';

/** What every lane shares: the contract between a protocol and the rest of the sidecar. */

/** Where a connection is going. */
export interface Target {
  readonly backend: ResolvedBackend;
  readonly client: { readonly address: string; readonly port: number };
  /** The address that the agent dialled. */
  readonly server: { readonly address: string; readonly port: number };
  /** For what no Backend has: `backend` is made up then, and called as the address and port. */
  readonly undeclared?: UndeclaredHost;
}

/** Somewhere that no Backend leads to. */
export interface UndeclaredHost {
  /** Names under which agents have asked for it, perhaps none. */
  readonly names: readonly string[];
  /** What the policies in force say of it now. */
  verdict(): RecordedVerdict;
}

/** One agent's use of one backend. Everything in it is recorded under `id`. */
export interface Session {
  readonly id: string;
  readonly who: Principal;
  /** Aborted by a kill, expiry, withdrawn access or drain; `signal.reason` is a `Stop`. */
  readonly signal: AbortSignal;
  /** Aborted by a stop that leaves no time to end, which may come after another; the reason is a `Stop` as well. */
  readonly urgent: AbortSignal;
  /** Whether policies in force ask what operations do. */
  readonly readsFacts: boolean;
  /** Decides, records, and only then permits. */
  admit(operation: Operation): Permit | Refusal;
  /** Says that nothing runs: operations that have not ended wait for the agent, such as portals that are suspended. */
  rest(): void;
  /** Sets whom to tell of an operation that runs for longer than it may: again and again while it does. */
  onOverdue(listener: () => void): void;
  /** Records what belongs to no operation: notices, notifications, ParameterStatus, layouts of statements. */
  aside(channel: Channel, content: Content, of?: RecordRef): { ready: Ready; ref: RecordRef };
  /** Records a name that goes up in a message which is no operation. */
  mention(content: Content): RecordRef;
  /** Records that a message was refused unjudged. */
  violated(code: ErrorCode): void;
  /** Records that a backend serves the session: its process and how it has greeted. */
  connected(backendPid: number | undefined, greeting: Content): void;
  /** Settles when everything recorded so far is in the spool: answers may be released. */
  recorded(): Ready;
  /** Settles when everything recorded so far may go up, as the policies' `delivery` asks. */
  cleared(): Ready;
  /** Whether what a record is about may go up. */
  isCleared(record: RecordRef): boolean;
  /** Ends the session, once; open permits must be finished before. */
  end(reason: EndReason): void;
}

/** What the sidecar offers to a lane. */
export interface LaneHost {
  /** Whether the policies in force ask agents for a token. */
  tokenPolicy(): 'None' | 'Optional' | 'Required' | Refusal;
  /** Checks what the agent presented. Failures are recorded; the refusal tells an attacker nothing. */
  identify(target: Target, presented: string | undefined): Promise<Principal | Refusal>;
  /** Opens a session; `session.start` is where it has to be when it resolves. */
  open(who: Principal, target: Target, login?: Content): Promise<Session | Refusal>;
  /** Connects to the backend. @throws ChaperoneError `backend-unreachable`. */
  dial(backend: ResolvedBackend, signal: AbortSignal): Promise<Socket>;
  /** Whether a backend at loopback is known by that: nobody but this machine's owner listens there. */
  readonly trustsLoopback: boolean;
  /** A login that Chaperone holds for a backend. @throws ChaperoneError `backend-login-failed`. */
  credential(ref: CredentialRef): BackendCredential;
  /** Tells the operator what stands between a session and its backend; the agent reads less. */
  warn(target: Target, error: Error): void;
  /** Counts, records and logs a login that has come to nothing; `identify` and `open` do so for what they refuse. */
  refused(target: Target, reason: LoginFailureReason): void;
  /** TLS for agents of a backend: replaces the plain socket by the encrypted one. Rejects where there is no certificate. */
  secure(agent: Socket, backend: ResolvedBackend): Promise<TLSSocket>;
  readonly cancels: CancelRegistry;
  /** Reads SQL, for all sessions. */
  readonly grammar: Pick<Grammar, 'read'>;
  /** What names stand for in the databases of backends. */
  readonly databases: Databases;
  /** The login, all of it, has to be done within this time. */
  readonly loginTimeoutMs: number;
}

/** A protocol: serves one connection from its first byte to its end. */
export interface Lane {
  readonly protocol: ResolvedBackend['protocol'];
  serve(agent: Socket, target: Target, host: LaneHost, signal: AbortSignal): Promise<void>;
}

/** The only way to the backend after login, one a protocol. */
export interface Outlet<Message, Control> {
  /** Sends what a permit allows and `record` holds: the request itself, or a part of what goes up behind it. */
  send(under: Permit, message: Message, record: RecordRef): Ready;
  /** Sends what has no content of its own. */
  control(message: Control): Ready;
}

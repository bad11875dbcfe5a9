import { randomFillSync } from 'node:crypto';
import type { ErrorCode } from '#core/errors.ts';
import type { Attachment } from '#core/bundle-message.ts';
import type { Content, Operation, RecordRef, Refusal } from '#core/operation.ts';
import type { Principal } from '#core/identity/principal.ts';
import type { SessionUse } from '#core/policy/budget.ts';
import { Judge } from '#core/policy/judge.ts';
import type { CompiledPolicies } from '#core/policy/compile.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import type { Channel, EndReason, RecordedPrincipal } from '#core/record/kinds.ts';
import { admit, digestOf, maxPartBytes, type Permit } from './gate.ts';
import type { Clearance } from './clearance.ts';
import type { Session, Target, UndeclaredHost } from './lane.ts';
import type { Ready, Stop } from './ready.ts';
import type { SessionLog, SpoolWriter } from './spool/writer.ts';
import { SessionUsage, type LimitsInForce } from './usage.ts';

export interface SessionOptions {
  readonly writer: SpoolWriter;
  readonly clearance: Clearance;
  /** The policies in force now: a change counts from the next operation on. */
  readonly bundle: () => Bundle;
  /** The same, compiled. */
  readonly compiled: () => CompiledPolicies;
  /** How far the pod is held to the sidecar; undefined where nobody has said it. */
  readonly attachment?: Attachment | undefined;
  readonly who: Principal;
  readonly target: Target;
  readonly login: Content | undefined;
  /** Its place among the pod's sessions at the Backend, which it gives back when it ends. */
  readonly use: SessionUse;
  readonly limits: () => LimitsInForce;
  readonly onEnd: (session: LiveSession) => void;
  readonly onVerdict: (action: 'Allow' | 'Deny') => void;
}

type SessionJudge = Pick<Judge, 'decide' | 'readsFacts'>;

/** Decides about what no Backend has: rules are about Backends, and `unknownHosts` says what becomes of the rest. */
function judgeOf(undeclared: UndeclaredHost): SessionJudge {
  return {
    readsFacts: false,
    decide: () => ({ recorded: undeclared.verdict(), message: undefined, uncovered: [] }),
  };
}

/** One agent's use of one backend: gives its records their session and number, and can be stopped from outside. */
export class LiveSession implements Session {
  readonly id = createSessionId(Date.now());
  readonly who: Principal;
  readonly target: Target;
  readonly #options: SessionOptions;
  readonly #log: SessionLog = { id: this.id, count: 0 };
  readonly #abort = new AbortController();
  readonly #urgent = new AbortController();
  readonly #startedMs = performance.now();
  readonly #usage: SessionUsage;
  #judge: { readonly of: CompiledPolicies; readonly judge: SessionJudge } | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.who = options.who;
    this.target = options.target;
    this.#recordStart();
    this.#usage = new SessionUsage({
      id: this.id,
      use: options.use,
      inForce: options.limits,
      stop: (stop) => this.stop(stop),
    });
    if (options.who.kind === 'token') this.#expireAt(options.who.expiresAt * 1000);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get urgent(): AbortSignal {
    return this.#urgent.signal;
  }

  get readsFacts(): boolean {
    return this.#judgeNow().readsFacts;
  }

  admit(operation: Operation): Permit | Refusal {
    const { bundle, writer, clearance } = this.#options;
    const judge = this.#judgeNow();
    const record = bundle().policy?.record;
    const usage = this.#usage;
    const limits = this.#options.limits();
    const context = { writer, clearance, log: this.#log, judge, usage, limits, record };
    const answer = admit(context, operation);
    this.#options.onVerdict('code' in answer ? 'Deny' : 'Allow');
    return answer;
  }

  rest(): void {
    this.#usage.rest();
  }

  onOverdue(listener: () => void): void {
    this.#usage.onOverdue(listener);
  }

  /** The policies have changed, and with them its limits perhaps. */
  policiesChanged(): void {
    this.#usage.watch();
  }

  aside(channel: Channel, content: Content, of?: RecordRef): { ready: Ready; ref: RecordRef } {
    this.#usage.aside(content.bytes.length);
    const level = this.#options.bundle().policy?.record.responses ?? 'Full';
    if (level !== 'Full') return { ready: undefined, ref: { seq: undefined } };
    const pieces = Math.max(1, Math.ceil(content.bytes.length / maxPartBytes));
    const [ref = { seq: undefined }] = Array.from({ length: pieces }, (_, index) => {
      const payload = content.bytes.subarray(index * maxPartBytes, (index + 1) * maxPartBytes);
      return this.#options.writer.append({
        session: this.#log,
        request: of,
        ending: false,
        seal: () => ({
          fields: { kind: 'part', direction: 'down', channel, payloadType: content.type },
          payload: [payload],
        }),
      });
    });
    return { ref, ready: this.#options.writer.turn() };
  }

  mention({ type, bytes }: Content): RecordRef {
    const level = this.#options.bundle().policy?.record.requests ?? 'Full';
    return this.#options.writer.append({
      session: this.#log,
      ending: false,
      seal: () => ({
        fields: {
          kind: 'part',
          direction: 'up',
          channel: 'message',
          payloadType: type,
          digest: level === 'Digest' ? digestOf(bytes) : undefined,
        },
        ...(level === 'Full' ? { payload: [bytes] } : {}),
      }),
    });
  }

  violated(code: ErrorCode): void {
    const fields = { kind: 'violation', code } as const;
    this.#options.writer.append({ session: this.#log, ending: false, seal: () => ({ fields }) });
  }

  connected(backendPid: number | undefined, greeting: Content): void {
    const level = this.#options.bundle().policy?.record.responses ?? 'Full';
    const pieces = level === 'Full' ? Math.ceil(greeting.bytes.length / maxPartBytes) : 0;
    for (let index = 0; index < Math.max(1, pieces); index += 1) {
      const payload = greeting.bytes.subarray(index * maxPartBytes, (index + 1) * maxPartBytes);
      this.#options.writer.append({
        session: this.#log,
        ending: false,
        seal: () => ({
          fields: {
            kind: 'part',
            direction: 'down',
            channel: 'parameters',
            payloadType: greeting.type,
            ...(backendPid === undefined ? {} : { backendPid }),
          },
          ...(pieces > 0 ? { payload: [payload] } : {}),
        }),
      });
    }
  }

  recorded(): Ready {
    return this.#options.writer.turn();
  }

  cleared(): Ready {
    return this.#options.clearance.turn();
  }

  isCleared(record: RecordRef): boolean {
    return this.#options.clearance.has(record);
  }

  /** Stops the session from outside; its lane sees the signal, tells the agent why, and ends it. */
  stop(stop: Stop): void {
    this.#abort.abort(stop);
    if (stop.urgent === true) this.#urgent.abort(stop); // also when it was being stopped with time to end
  }

  end(reason: EndReason): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#expiry);
    this.#usage.end();
    const durationMs = Math.round(performance.now() - this.#startedMs);
    const log = this.#log;
    this.#options.writer.append({
      session: log,
      ending: true,
      seal: () => ({ fields: { kind: 'session.end', reason, count: log.count + 1, durationMs } }),
    });
    this.#options.onEnd(this);
  }

  /** The judge of the policies in force: a new one when they have changed. */
  #judgeNow(): SessionJudge {
    const { compiled, bundle, who, target } = this.#options;
    const now = compiled();
    if (this.#judge?.of === now) return this.#judge.judge;
    const asker = { backend: target.backend.name, who, workload: bundle().workload };
    const judge = target.undeclared ? judgeOf(target.undeclared) : new Judge(now, asker);
    this.#judge = { of: now, judge };
    return judge;
  }

  #recordStart(): void {
    const { target, who, login, bundle, attachment, writer } = this.#options;
    const { revision } = bundle();
    writer.append({
      session: this.#log,
      ending: false,
      seal: () => ({
        fields: {
          kind: 'session.start',
          protocol: target.backend.protocol,
          backend: target.backend.name,
          principal: recordedPrincipal(who),
          'server.address': target.server.address,
          'server.port': target.server.port,
          'client.address': target.client.address,
          'client.port': target.client.port,
          revision,
          attachment,
          ...(login ? { payloadType: login.type } : {}),
        },
        ...(login ? { payload: [login.bytes] } : {}),
      }),
    });
  }

  // A timer holds at most 2^31 - 1 ms; a token that lives longer is looked at again then.
  #expireAt(timeMs: number): void {
    const left = timeMs - Date.now();
    const expire = (): void => {
      if (timeMs > Date.now()) return this.#expireAt(timeMs);
      return this.stop({
        refusal: {
          code: 'token-expired',
          message: 'the token of this session has expired',
          hint: 'Connect again with a new token.',
        },
        reason: 'token-expired',
      });
    };
    this.#expiry = setTimeout(expire, Math.min(Math.max(left, 0), 0x7fff_ffff));
  }
}

function recordedPrincipal(who: Principal): RecordedPrincipal {
  if (who.kind === 'workload') return { kind: 'workload', user: who.user };
  const { kind, user, groups, provider, issuer, onBehalfOf } = who;
  return {
    kind,
    user,
    groups,
    provider,
    issuer,
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
  };
}

/** Makes a UUIDv7 (RFC 9562 section 5.7): sorts by the time of its making. */
export function createSessionId(nowMs: number): string {
  const bytes = randomFillSync(Buffer.alloc(16));
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

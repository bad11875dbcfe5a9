import type { Socket } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Content } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { endReasonOf } from '../endings.ts';
import type { Permit } from '../gate.ts';
import { limitSignal } from '../limited-signal.ts';
import type { Lane, LaneHost, Outlet, Session, Target } from '../lane.ts';
import type { Ready } from '../ready.ts';

const maxTimerMs = 0x7fff_ffff; // 24 days: the longest that a timer can be

/** An opaque stream has nothing that could go up without content. */
type Nothing = never;

/** Carries a connection whose bytes are not understood: one operation, with its counts and no content. */
class TcpOutlet implements Outlet<Buffer, Nothing> {
  readonly #upstream: Socket;

  constructor(upstream: Socket) {
    this.#upstream = upstream;
  }

  send(under: Permit, message: Buffer): Ready {
    if (under.ref.seq === undefined) {
      throw new ChaperoneError('audit-unavailable', 'an operation is not in the spool');
    }
    under.count(message.length, 0);
    if (this.#upstream.write(message)) return undefined;
    return drained(this.#upstream).then(() => undefined);
  }

  control(): Ready {
    return undefined;
  }
}

/** Any protocol that Chaperone does not read: metadata and counts are recorded. */
export const tcpLane: Lane = {
  protocol: 'TCP',
  async serve(agent, target, host, signal) {
    agent.on('error', () => agent.destroy());
    // Nothing can be said in a protocol that nobody reads: a reset tells the agent at once.
    const who = await host.identify(target, undefined);
    if (isRefusal(who)) return void agent.resetAndDestroy();
    const session = await host.open(who, target, namesOf(target));
    if (isRefusal(session)) return void agent.resetAndDestroy();
    let reason: EndReason = 'internal-error';
    try {
      reason = await carry(session, agent, target, host, signal);
    } finally {
      session.end(reason);
      if (reason === 'agent-closed') agent.destroy();
      else agent.resetAndDestroy();
    }
    return undefined;
  },
};

/** Names under which an agent may have dialled what no Backend has. */
function namesOf({ undeclared }: Target): Content | undefined {
  const [first, ...rest] = undeclared?.names ?? [];
  if (first === undefined) return undefined;
  return { type: 'json', bytes: Buffer.from(JSON.stringify({ host: [first, ...rest].join(',') })) };
}

async function carry(
  session: Session,
  agent: Socket,
  target: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<EndReason> {
  const permit = session.admit({ kind: 'connection', facts: { protocol: 'TCP' } });
  if (isRefusal(permit)) return 'access-withdrawn';
  const stop = await permit.recorded;
  if (stop) return stop.reason;
  using limited = limitSignal([session.signal, signal], {
    timeoutMs: maxTimerMs,
    reason: new ChaperoneError('session-ended', 'the connection has reached its longest time'),
  });
  const ended = limited.signal;
  let vanished: EndReason = 'agent-vanished';
  try {
    const upstream = await host.dial(target.backend, ended);
    upstream.on('error', () => {
      if (!agent.destroyed) vanished = 'backend-closed';
      upstream.destroy();
    });
    await relay(agent, upstream, permit, ended);
    permit.finish({ status: 'ok' });
    return 'agent-closed';
  } catch (error) {
    permit.finish({ status: 'incomplete' });
    if (ended.aborted) return endReasonOf(ended.reason);
    if (error instanceof ChaperoneError && error.code === 'backend-unreachable')
      host.warn(target, error);
    return error instanceof ChaperoneError ? endReasonOf(error) : vanished;
  }
}

/** Each direction ends on its own, so half-closed connections work as they do without us. */
async function relay(
  agent: Socket,
  upstream: Socket,
  permit: Permit,
  signal: AbortSignal,
): Promise<void> {
  const outlet = new TcpOutlet(upstream);
  const up = async (): Promise<void> => {
    for await (const chunk of agent.iterator({ destroyOnReturn: false })) {
      signal.throwIfAborted();
      await outlet.send(permit, chunk as Buffer); // a net.Socket without encoding yields Buffers
    }
    await endOf(upstream);
  };
  const down = async (): Promise<void> => {
    for await (const chunk of upstream.iterator({ destroyOnReturn: false })) {
      signal.throwIfAborted();
      const bytes = chunk as Buffer; // as above
      const refusal = permit.count(0, bytes.length);
      if (refusal) throw new ChaperoneError(refusal.code, refusal.message);
      if (!agent.write(bytes)) await drained(agent);
    }
    await endOf(agent);
  };
  const abort = (): void => {
    for (const socket of [agent, upstream]) socket.resetAndDestroy(); // closed they would look as if all had been said
  };
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.all([up(), down()]);
    upstream.destroy();
  } catch (error) {
    upstream.resetAndDestroy();
    throw error;
  }
}

/** Settles when there is room again, or never will be. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.once('drain', done).once('close', done);
  });
}

/** Ends our half once the other side has all of it: what is destroyed before loses the rest. */
function endOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.end(() => resolve());
  });
}

import { duplexPair, type Duplex } from 'node:stream';
import { FrameSplitter } from '#core/postgres/frames.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { Relay } from '../../sidecar/postgres/relay.ts';
import type { LiveSession } from '../../sidecar/session.ts';
import type { Random } from './random.ts';
import type { ScriptedBackend } from './scripted-backend.ts';
import { openSession, type TestSpool } from './sidecar-session.ts';

/** A message that reached the backend. */
export interface Arrived {
  readonly tag: number;
  readonly body: Buffer;
  /** How long the spool was then, in bytes. */
  readonly spooled: number;
}

/** What a relay between two ends in memory has led to. */
export interface Relayed {
  readonly session: LiveSession;
  readonly reason: EndReason;
  /** Whether it did not come to an end by itself once the agent had said its last. */
  readonly stuck: boolean;
  /** What the agent read. */
  readonly toAgent: Buffer;
  /** What the backend read. */
  readonly toBackend: readonly Arrived[];
}

export interface RelayedOptions {
  readonly spool: TestSpool;
  readonly random: Random;
  readonly backend: ScriptedBackend;
  /** What the agent sends. */
  readonly bytes: Buffer;
  /** Where to cut what is said, in place of by chance. */
  readonly cut?: { readonly side: 'agent' | 'backend'; readonly at: number };
  /** How the agent leaves. */
  readonly leaves: 'ends' | 'vanishes' | 'reads nothing';
}

const patience = 100; // turns of the event loop
const whole = {
  streamed: new Set<number>(),
  maxMessageBytes: 0x4000_0000,
  oversized: 'throw',
} as const;

/** Runs a real relay and its session between an agent and a backend that are scripted, to its end. */
export async function playRelay(options: RelayedOptions): Promise<Relayed> {
  const { spool, random, backend } = options;
  const session = openSession(spool.writer);
  await session.recorded();
  const [agent, atAgent] = linkedPair();
  const [upstream, atBackend] = linkedPair();
  const toAgent: Buffer[] = [];
  if (options.leaves !== 'reads nothing') agent.on('data', (chunk: Buffer) => toAgent.push(chunk));
  agent.on('end', () => agent.end());
  const toBackend: Arrived[] = [];
  const splitter = new FrameSplitter(whole);
  const reply = writer(atBackend, options, 'backend');
  atBackend.on('data', (chunk: Buffer) => {
    for (const piece of splitter.push(chunk)) {
      if (piece.kind !== 'message') throw new Error(`a ${piece.kind} at the backend`);
      const { tag, body } = piece;
      toBackend.push({ tag, body: Buffer.from(body), spooled: spool.writer.totalBytes });
      const { bytes, close } = backend.answer(tag, body);
      reply(bytes);
      if (close) atBackend.end();
    }
  });
  atBackend.on('end', () => atBackend.end());
  const ran = new Relay({ agent: atAgent, upstream, session, cancel: async () => undefined }).run();
  const say = writer(agent, options, 'agent');
  say(options.bytes);
  for (let turns = random.below(6); turns > 0; turns -= 1) await turn();
  if (options.leaves === 'ends') agent.end();
  else atAgent.destroy(); // as by a reset, which comes without an end
  const ended = ran.then(() => true);
  // Who has only ended may still wait for answers; a backend that owes them for good is left in the end.
  for (let turns = 0; turns < patience; turns += 1) if (await Promise.race([ended, turn()])) break;
  const stuck = !atAgent.closed;
  agent.destroy();
  const reason = await ran;
  session.end(reason);
  return { session, reason, stuck, toAgent: Buffer.concat(toAgent), toBackend };
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(() => resolve()));

/** Two ends of a connection: when one is closed, so is the other. */
function linkedPair(): [Duplex, Duplex] {
  const [one, other] = duplexPair();
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => undefined); // 'close' follows
    from.on('close', () => to.destroy());
  }
  return [one, other];
}

/** Writes bytes in pieces of any length, or whole but for one cut. */
function writer(
  to: Duplex,
  { random, cut }: RelayedOptions,
  side: 'agent' | 'backend',
): (bytes: Buffer) => void {
  let written = 0;
  const write = (bytes: Buffer): void => {
    if (bytes.length > 0 && to.writable) to.write(bytes);
  };
  if (cut)
    return (bytes) => {
      const at = cut.side === side ? Math.max(cut.at - written, 0) : 0;
      written += bytes.length;
      write(bytes.subarray(0, at));
      write(bytes.subarray(at));
    };
  return (bytes) => {
    for (let at = 0; at < bytes.length;) {
      const end = at + 1 + random.below(random.pick([3, 40, 4_000]));
      write(bytes.subarray(at, end));
      at = end;
    }
  };
}

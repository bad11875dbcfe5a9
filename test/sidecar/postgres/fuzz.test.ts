import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseErrorFields } from '#core/postgres/backend.ts';
import { FrameSplitter } from '#core/postgres/frames.ts';
import {
  buildCopyFail,
  buildExecute,
  buildFlush,
  buildQuery,
  buildSync,
  FrontendTag,
} from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import type { Frame } from '#core/record/frame.ts';
import { bind, close, ofPortal, ofStatement, parse } from '../../support/extended-query.ts';
import { Random, scaled } from '../../support/random.ts';
import { playRelay, type Relayed } from '../../support/relayed.ts';
import {
  misbehaviours,
  ScriptedBackend,
  type Misbehaviour,
} from '../../support/scripted-backend.ts';
import { openSpool, type TestSpool } from '../../support/sidecar-session.ts';

const messages: readonly Buffer[] = [
  buildQuery('SELECT 1'),
  buildQuery(''),
  buildQuery('COPY t FROM STDIN'),
  parse('', 'SELECT 1'),
  parse('s', 'SELECT $1', [25]),
  parse('f', 'FETCH c'),
  bind(''),
  bind('s', { values: [Buffer.from('value'), null] }),
  bind('f', { portal: 'p' }),
  bind('s', { values: [Buffer.alloc(3_000, 'v')] }),
  bind('s', { portal: 'gr\u00fc\u00dfe' }), // is refused
  buildExecute('', 0),
  buildExecute('', 2),
  buildExecute('p', 1),
  ofPortal(''),
  ofPortal('p'),
  ofStatement('s'),
  close('S', 's'),
  close('P', 'p'),
  buildFlush(),
  buildSync(),
  buildSync(),
  buildMessage('d', Buffer.from('1\t2\n')),
  buildMessage('c'),
  buildCopyFail('given up'),
  buildMessage('F', int32(1396), int16(0), int16(0), int16(0)),
];

/** What an agent sends: well-formed messages in any order; a hostile one damages them. */
function agentBytes(random: Random, hostile: boolean): Buffer {
  const chosen = Array.from({ length: 1 + random.below(12) }, () => random.pick(messages));
  if (random.below(3) === 0) chosen.push(buildSync(), buildMessage('X'));
  const bytes = Buffer.concat(chosen);
  if (!hostile) return bytes;
  switch (random.below(4)) {
    case 0:
      for (let times = 1 + random.below(4); times > 0; times -= 1)
        bytes[random.below(bytes.length)] = random.below(256);
      return bytes;
    case 1: {
      const at = random.below(chosen.length);
      const start = Buffer.concat(chosen.slice(0, at)).length;
      const lie = random.pick([0, 3, 4, 5, 1_000, 20_000, 300_000, 0x3fff_ffff, 0xffff_ffff]);
      bytes.writeUInt32BE(lie, start + 1);
      return bytes;
    }
    case 2:
      return bytes.subarray(0, random.below(bytes.length));
    default:
      return Buffer.concat([bytes, random.bytes(1 + random.below(60))]);
  }
}

const judged: ReadonlySet<number> = new Set([
  FrontendTag.Query,
  FrontendTag.Parse,
  FrontendTag.Bind,
  FrontendTag.FunctionCall,
]);

/** What the lane makes the backend fail by: of the agent's it holds nothing. */
const isOwn = (content: Buffer): boolean =>
  /^CLOSE chaperone_[0-9a-f]{32}$/.test(content.toString('latin1'));

/** Whatever reached the backend is what a record says that was in the spool by then, in the order of the records. */
function assertRecordedFirst(
  relayed: Relayed,
  frames: readonly Frame[],
  offsets: WeakMap<Frame, number>,
): void {
  const records = frames.filter(
    ({ header }) => (header.kind === 'request' || header.kind === 'statement') && header.payload,
  );
  let next = 0;
  for (const { tag, body, spooled } of relayed.toBackend) {
    if (!judged.has(tag)) continue;
    const content = tag === FrontendTag.Query ? body.subarray(0, -1) : body;
    if (content.length === 0 || isOwn(content)) continue;
    const found = records.findIndex(
      ({ payload }, index) => index >= next && payload.equals(content.subarray(0, 65_536)),
    );
    assert.ok(found >= 0, `no record of ${body.toString('latin1')}`);
    const record = records[found];
    assert.ok(record && (offsets.get(record) ?? Infinity) <= spooled, 'its record came later');
    next = found + 1;
  }
}

/** Every request that was allowed has one result, a statement at most one; the session ends once. */
function assertResults(frames: readonly Frame[]): void {
  const results = new Map<number, number>();
  for (const { header } of frames) {
    if (header.kind !== 'result') continue;
    const of = header.request ?? 0;
    results.set(of, (results.get(of) ?? 0) + 1);
  }
  for (const { header } of frames) {
    if (header.kind === 'request' && header.verdict.action === 'Allow')
      assert.equal(results.get(header.seq), 1, `results of ${header.seq}`);
    if (header.kind === 'statement') assert.ok((results.get(header.seq) ?? 0) <= 1);
  }
  assert.equal(frames.filter(({ header }) => header.kind === 'session.end').length, 1);
  assert.ok(frames.at(-1)?.header.kind === 'session.end', 'something follows the end');
}

/** The agent reads whole messages, and what the gateway says itself is never a part of another message. */
function assertReadable({ toAgent, reason }: Relayed, gone: boolean): void {
  const splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: 0x4000_0000,
    oversized: 'throw',
  });
  let last: string | undefined;
  let read = 0;
  for (const piece of splitter.push(toAgent)) {
    assert.equal(piece.kind, 'message');
    read += piece.kind === 'message' ? piece.frame.length : 0;
    const error = piece.tag === 0x45 && piece.kind === 'message';
    const own = piece.kind === 'message' && piece.body.includes('chaperone: ');
    if (own) assert.ok(error, `inside a message of type ${piece.tag}`);
    last = own && error ? parseErrorFields(piece.body).get('S') : undefined;
  }
  if (!splitter.between) {
    assert.equal(toAgent.subarray(read).includes('chaperone: '), false, 'inside a cut message');
  } else if (reason === 'protocol-violation' && !gone) {
    assert.equal(last, 'FATAL', 'it ends without a word');
  }
}

interface Scene {
  readonly hostile: boolean;
  readonly misbehaviour: Misbehaviour;
  readonly leaves: 'ends' | 'vanishes' | 'reads nothing';
  /** Whether the spool fills up meanwhile. */
  readonly fails: boolean;
}

const honestReasons: ReadonlySet<string> = new Set([
  'agent-closed',
  'agent-vanished',
  'backend-closed',
]);

function assertAll(
  scene: Scene,
  relayed: Relayed,
  frames: readonly Frame[],
  offsets: WeakMap<Frame, number>,
): void {
  assertRecordedFirst(relayed, frames, offsets);
  assertResults(frames);
  assertReadable(relayed, scene.leaves !== 'ends');
  const honest = !scene.hostile && scene.misbehaviour === 'none';
  const unrecorded = scene.fails && relayed.reason === 'audit-unavailable';
  if (honest) assert.ok(unrecorded || honestReasons.has(relayed.reason), relayed.reason);
  if (scene.misbehaviour === 'none') assert.equal(relayed.stuck, false, 'it goes on without end');
  assert.notEqual(relayed.reason, 'internal-error');
}

/** Plays relays at the same time over one spool, and judges each by what it did and what is recorded of it. */
async function playAll(
  spool: TestSpool,
  seeds: readonly number[],
  fails = false,
): Promise<Map<string, number>> {
  const reasons = new Map<string, number>();
  const played = await Promise.all(
    seeds.map(async (seed) => {
      const random = new Random(seed);
      const scene: Scene = {
        fails,
        hostile: seed % 2 === 0,
        misbehaviour: seed % 3 === 0 ? 'none' : random.pick(misbehaviours),
        leaves: random.pick(['ends', 'ends', 'vanishes', 'reads nothing']),
      };
      const backend = new ScriptedBackend(random, scene.misbehaviour);
      const bytes = agentBytes(random, scene.hostile);
      try {
        const { leaves } = scene;
        return { seed, scene, relayed: await playRelay({ spool, random, backend, bytes, leaves }) };
      } catch (cause) {
        throw new Error(`seed ${seed}, ${JSON.stringify(scene)}`, { cause });
      }
    }),
  );
  if (fails) spool.writer.close();
  else await spool.writer.turn();
  const bySession = new Map<string | undefined, Frame[]>();
  const offsets = new WeakMap<Frame, number>();
  let offset = 0;
  for (const frame of spool.frames()) {
    offset += frame.length;
    offsets.set(frame, offset);
    const { session } = frame.header;
    const frames = bySession.get(session);
    if (frames) frames.push(frame);
    else bySession.set(session, [frame]);
  }
  for (const { seed, scene, relayed } of played) {
    try {
      assertAll(scene, relayed, bySession.get(relayed.session.id) ?? [], offsets);
    } catch (cause) {
      throw new Error(`seed ${seed}, ${JSON.stringify(scene)}: ${relayed.reason}`, { cause });
    }
    reasons.set(relayed.reason, (reasons.get(relayed.reason) ?? 0) + 1);
  }
  return reasons;
}

const together = 50;

describe('between hostile agents and hostile backends', () => {
  test('a relay records first, gives every request one result, and speaks whole messages', async () => {
    const reasons = new Map<string, number>();
    const count = Math.max(scaled(100_000), 1_000);
    for (let first = 1; first <= count; first += together) {
      using spool = openSpool();
      const seeds = Array.from({ length: together }, (_, index) => first + index);
      for (const [reason, times] of await playAll(spool, seeds))
        reasons.set(reason, (reasons.get(reason) ?? 0) + times);
    }
    // All ways to end occurred, so that every branch was there to be judged.
    assert.ok([...honestReasons, 'protocol-violation'].every((reason) => reasons.has(reason)));
  });

  test('and does so while the spool fills up', async () => {
    for (let first = 1; first <= scaled(10_000); first += together) {
      using spool = openSpool({ maxBytes: 20_000 + (first % 7) * 10_000 });
      const seeds = Array.from({ length: together }, (_, index) => 1_000_000 + first + index);
      await playAll(spool, seeds, true);
      assert.equal(spool.troubles[0]?.message, 'the spool is full');
    }
  });

  for (const side of ['agent', 'backend'] as const) {
    test(`what the ${side} says is understood however it is split`, async () => {
      const pick = (tags: string): Buffer[] =>
        Array.from(
          tags,
          (tag) => messages.find((frame) => frame[0] === tag.charCodeAt(0)) ?? Buffer.alloc(0),
        );
      const bytes = Buffer.concat(pick('PBDESQBEESPBSFQCHS'));
      using spool = openSpool();
      const play = async (at: number): Promise<Omit<Relayed, 'session' | 'stuck'>> => {
        const options = { spool, random: new Random(1), bytes, cut: { side, at } } as const;
        const backend = new ScriptedBackend(new Random(9), 'none');
        const { toAgent, toBackend, reason } = await playRelay({
          ...options,
          backend,
          leaves: 'ends',
        });
        // When a message is recorded depends on when it came, what it says does not.
        return {
          reason,
          toAgent,
          toBackend: toBackend.map((message) => ({ ...message, spooled: 0 })),
        };
      };
      const whole = await play(0);
      const length = side === 'agent' ? bytes.length : whole.toAgent.length;
      for (let at = 1; at < length; at += 1)
        assert.deepEqual(await play(at), whole, `split at ${at}`);
    });
  }
});

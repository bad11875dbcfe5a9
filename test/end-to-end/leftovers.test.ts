import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeFrame } from '#core/record/frame.ts';
import { createSessionId } from '../../sidecar/session.ts';
import { startInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly streams?: readonly string[];
  readonly path?: string;
}

const errorLevel = 50; // of pino

test('a leftover that the collector refuses is named when the sidecar stops, and what was damaged is kept and said', async () => {
  const data = mkdtempSync(join(tmpdir(), 'chaperone-leftovers-'));
  chmodSync(data, 0o755); // root's PostgreSQL runs under an account of its own
  const stream = createSessionId(Date.now());
  const frame = (seq: number): Buffer => {
    const time = new Date().toISOString();
    const header = { v: 1, kind: 'stream.end', stream, seq, time, monoNs: seq };
    return encodeFrame(Buffer.from(JSON.stringify(header)), Buffer.alloc(0), Buffer.alloc(0));
  };
  // The collector has none of the records before the fifth, and the sixth cannot be read.
  const damaged = Buffer.concat([frame(5), frame(6), frame(7)]);
  damaged.writeUInt8(damaged.readUInt8(frame(5).length + 30) ^ 1, frame(5).length + 30);
  const segment = join(data, 'spool', stream, '0000000000000005.frames');
  mkdirSync(join(data, 'spool', stream), { recursive: true, mode: 0o700 });
  writeFileSync(segment, damaged, { mode: 0o600 });

  const read = (): LogLine[] =>
    readFileSync(join(data, 'log/sidecar.log'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as LogLine);
  await using instance = await startInstance({ data });
  await until('it is refused', () =>
    read().find(({ msg }) => msg === 'the collector refuses a batch'),
  );
  await instance.stop();
  const last = read().findLast(({ msg }) => msg.startsWith('stopped'));
  assert.deepEqual(last?.streams, [stream]);
  assert.doesNotMatch(last?.msg ?? '', /is shipped/);
  const said = read().find(({ level }) => level === errorLevel);
  assert.match(said?.msg ?? '', /damaged/);
  assert.equal(said?.path, segment);
  assert.deepEqual(readFileSync(`${segment}.damaged`), damaged);
  assert.ok(existsSync(segment));
  rmSync(data, { recursive: true });
});

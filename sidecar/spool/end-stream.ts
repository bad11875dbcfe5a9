import { closeSync, openSync, writeSync } from 'node:fs';
import type { RecordFields } from '#core/record/kinds.ts';
import type { Moment } from './clock.ts';
import { FrameBuilder } from './frame-builder.ts';
import { withBallast } from './head.ts';
import { beginHeader } from './header.ts';
import { segmentPath } from './segment.ts';
import type { StreamReader } from './stream-reader.ts';

/**
 * Ends a stream whose process could not: tells of what is lost, gives every request without a result the status
 * `unknown`, ends every session and then the stream. What has been written of it before is not written again.
 */
export function endStream(reader: StreamReader, directory: string, { time }: Moment): void {
  const { chain, stream } = reader;
  const frames = new FrameBuilder();
  const moment: Moment = { time, monoNs: chain.monoNs }; // the clock of a process that is gone stands still
  let { seq } = chain;
  const append = (fields: RecordFields, rest = ''): void => {
    seq += 1;
    frames.append(beginHeader(fields, stream, seq, moment) + rest, []);
  };
  for (const { from, to } of reader.gaps) append({ kind: 'gap', from, to, reason: 'damaged' });
  for (const [id, session] of chain.open.sessions) {
    // Records of it may be lost: nobody can say which number its next one has.
    if (session.doubtful) continue;
    let { n } = session;
    const numbered = (): string => `,"session":"${id}","n":${(n += 1)}`;
    for (const request of session.requests)
      append(unknownResult, `${numbered()},"request":${request}`);
    const durationMs = Math.round((chain.monoNs - session.startedNs) / 1e6);
    append({ kind: 'session.end', reason: 'sidecar-killed', count: n + 1, durationMs }, numbered());
  }
  append({ kind: 'stream.end', reason: 'recovered' });
  const path = segmentPath(directory, stream, chain.seq + 1);
  withBallast(directory, () => write(path, frames.bytes));
  reader.add(path, frames.bytes);
}

const unknownResult: RecordFields = {
  kind: 'result',
  status: 'unknown',
  bytesUp: 0,
  bytesDown: 0,
  durationUs: 0,
};

function write(path: string, bytes: Buffer): void {
  const fd = openSync(path, 'w', 0o600);
  try {
    for (let done = 0; done < bytes.length;)
      done += writeSync(fd, bytes, done, bytes.length - done, done);
  } finally {
    closeSync(fd);
  }
}

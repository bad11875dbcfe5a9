import { transcribe } from '#core/postgres/transcript.ts';
import type { TestInstance } from './instance.ts';
import { until } from './until.ts';

/** One request as `chaperone sessions show` tells it. */
export interface RecordedRequest {
  readonly text: string | undefined;
  readonly parameters: (string | null)[];
  columns: readonly string[];
  readonly rows: (readonly (string | null)[])[];
  /** SQLSTATEs of errors, and notes. */
  readonly said: string[];
  /** Status and command; more than one would be a defect. */
  readonly outcomes: string[];
}

/** A session as it was recorded, once it has ended and is stored. */
export interface RecordedSession {
  readonly id: string;
  readonly requests: readonly RecordedRequest[];
  readonly reason: string;
}

/** Waits until the newest session of a principal is stored to its end, and reads it. */
export async function recordedSession(
  instance: TestInstance,
  who: string,
): Promise<RecordedSession> {
  const collector = instance.collector();
  const { id } = await until(`the session of ${who} is stored`, async () => {
    const [newest] = await collector.sessions({ who });
    return newest?.endedAt === null ? undefined : newest;
  });
  const requests = new Map<number, RecordedRequest>();
  let reason = '';
  for await (const line of transcribe(collector.frames(id))) {
    if (line.kind === 'request')
      requests.set(line.seq, {
        text: line.text,
        parameters: [],
        columns: [],
        rows: [],
        said: [],
        outcomes: [],
      });
    if (line.kind === 'ended') ({ reason } = line);
    const request = 'seq' in line && line.seq !== undefined ? requests.get(line.seq) : undefined;
    if (!request) continue;
    switch (line.kind) {
      case 'parameters':
        request.parameters.push(...line.values);
        break;
      case 'columns':
        request.columns = line.names;
        break;
      case 'row':
        request.rows.push(line.cells);
        break;
      case 'error':
        request.said.push(line.code);
        break;
      case 'note':
        request.said.push(line.text);
        break;
      case 'outcome':
        request.outcomes.push(
          line.command === undefined ? line.status : `${line.status} ${line.command}`,
        );
        break;
      default:
        break;
    }
  }
  return { id, requests: [...requests.values()], reason };
}

import { transcribe } from '#core/postgres/transcript.ts';
import { allSessions, type TestInstance } from './instance.ts';
import { waitForSessions } from './results.ts';

export interface Verdicts {
  readonly allowed: number;
  /** Texts that were denied, with the reason. */
  readonly denied: readonly string[];
}

/** What was decided of everything that is recorded, once every session is over and stored. */
export async function verdictsOf(instance: TestInstance): Promise<Verdicts> {
  await waitForSessions(instance);
  const collector = instance.collector();
  const denied: string[] = [];
  let allowed = 0;
  for await (const { id } of allSessions(collector)) {
    for await (const line of transcribe(collector.frames(id))) {
      if (line.kind !== 'request') continue;
      const { verdict, text } = line;
      if (verdict.action === 'Allow') allowed += 1;
      else denied.push(`${verdict.reason}: ${text ?? 'a message without a text'}`);
    }
  }
  return { allowed, denied };
}

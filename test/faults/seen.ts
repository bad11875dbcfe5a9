import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** A mark in the log of a backend. */
export interface SeenMark {
  readonly mark: number;
  /** Whether this place says that the statement was begun: there is one for each time. */
  readonly begun: boolean;
}

const begins = / LOG: {2}(?:statement|execute )/;

/**
 * Yields every mark in a log with `log_statement=all`, which may be gigabytes. A statement that has its mark in a
 * parameter shows it in the detail behind it.
 */
export async function* marksIn(path: string): AsyncGenerator<SeenMark> {
  const lines = createInterface({ input: createReadStream(path, { encoding: 'latin1' }) });
  let unnamed = false;
  for await (const line of lines) {
    const begun = begins.test(line);
    const mark = markIn(line);
    if (mark !== undefined) yield { mark, begun: begun || (unnamed && line.includes(' DETAIL: ')) };
    unnamed = begun && mark === undefined;
  }
}

function markIn(line: string): number | undefined {
  const [, number] = /mark_(\d+)_/.exec(line) ?? [];
  return number === undefined ? undefined : Number(number);
}

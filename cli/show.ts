import { transcribe } from '#core/postgres/transcript.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { TranscriptLine } from '#core/record/transcript.ts';
import type { CollectorClient } from './collector-client.ts';
import { expectationYaml } from './expectations.ts';
import { requestsOf, textOf } from './recorded-requests.ts';
import { printable, printableLines, table } from './terminal.ts';

/** Rows are laid out together up to this many, so that a long answer is printed while it arrives. */
const rowsPerTable = 100;

type Write = (line: string) => void;

/** Prints what happened in a session. Returns the exit code. */
export async function printSession(
  client: CollectorClient,
  id: string,
  json: boolean,
): Promise<number> {
  const session = await client.session(id);
  const write: Write = (line) => void process.stdout.write(`${line}\n`);
  const lines = transcribe(client.frames(session.id));
  if (json) {
    for await (const line of lines)
      write(
        JSON.stringify(line, (_key, value: unknown) =>
          value instanceof Map ? Object.fromEntries(value) : value,
        ),
      );
    return 0;
  }
  const printer = new Printer(write);
  for await (const line of lines) printer.print(line);
  printer.flush();
  if (session.protocol === 'TCP') write('A TCP connection: its content is not read, only counted.');
  return 0;
}

/** Prints the requests of a session as what `chaperone replay --expect` takes. Returns the exit code. */
export async function printExpectations(client: CollectorClient, id: string): Promise<number> {
  const session = await client.session(id);
  let without = 0;
  for await (const request of requestsOf(client, session)) {
    const given = textOf(request);
    if ('text' in given) process.stdout.write(expectationYaml(request, given.text));
    else without += 1;
  }
  if (without > 0)
    process.stderr.write(
      `${without} left out: without SQL that was recorded, or refused by limits\n`,
    );
  return 0;
}

/** Prints transcript lines for people; rows that follow each other become a table. */
export class Printer {
  readonly #write: Write;
  readonly #names = new Map<number, readonly string[]>();
  #rows: (readonly (string | null)[])[] = [];
  #rowsOf = 0;

  constructor(write: Write) {
    this.#write = write;
  }

  print(line: TranscriptLine): void {
    if (line.kind === 'row') {
      if (line.seq !== this.#rowsOf || this.#rows.length >= rowsPerTable) this.flush();
      this.#rowsOf = line.seq;
      this.#rows.push(line.cells);
      return;
    }
    this.flush();
    if (line.kind === 'columns') this.#names.set(line.seq, line.names);
    else for (const text of describe(line)) this.#write(text);
    if (line.kind === 'outcome') this.#names.delete(line.seq);
  }

  flush(): void {
    const width = Math.max(0, ...this.#rows.map((row) => row.length));
    const names =
      this.#names.get(this.#rowsOf) ?? Array.from({ length: width }, (_, index) => `?${index + 1}`);
    if (this.#rows.length > 0)
      for (const text of table(names, this.#rows)) this.#write(`    ${text}`);
    this.#rows = [];
  }
}

// Of a verdict that was no Deny, nothing says which policy would have denied, unless none enforces.
function describeVerdict({ action, wouldBe, reason, policy, rule }: RecordedVerdict): string {
  const by = ` by ${policy ?? 'default'}${rule === undefined ? '' : `, rule ${rule}`}`;
  if (action === 'Deny') return `  DENIED${by} (${reason})`;
  if (wouldBe === 'Deny') return `  would be DENIED${reason === 'observe' ? by : ''}`;
  return '';
}

/** Says a line of a transcript for people; rows and columns are laid out by the printer. */
export function describe(line: Exclude<TranscriptLine, { kind: 'row' | 'columns' }>): string[] {
  switch (line.kind) {
    case 'session': {
      const login = [...line.login]
        .map(([name, value]) => `${printable(name)}=${printable(value)}`)
        .join(' ');
      const { user, groups = [], onBehalfOf } = line.principal;
      const acting = onBehalfOf === undefined ? '' : ` on behalf of ${printable(onBehalfOf)}`;
      return [
        `session ${line.session}`,
        `  began    ${line.time}`,
        `  who      ${printable(user)}${acting}${groups.length > 0 ? ` (${groups.map(printable).join(', ')})` : ''}`,
        `  backend  ${printable(line.backend)}`,
        ...(login === '' ? [] : [`  login    ${login}`]),
      ];
    }
    case 'request': {
      const verdict = describeVerdict(line.verdict);
      const text =
        line.text === undefined ? '(text not recorded)' : printableLines(line.text, '    ');
      return ['', `${line.time}  #${line.seq}${verdict}`, `    ${text}`];
    }
    case 'parameters':
      if (line.values.length === 0) return [];
      return [
        `  with ${line.values.map((value, index) => `$${index + 1} = ${value === null ? 'NULL' : printable(value)}`).join(', ')}`,
      ];
    case 'copy':
      return [`    ${printable(line.text)}`];
    case 'notice':
    case 'error':
      return [
        `  ${printable(line.severity)} ${printable(line.code)}: ${printable(line.message)}`,
        ...(line.detail === undefined ? [] : [`    detail: ${printable(line.detail)}`]),
        ...(line.hint === undefined ? [] : [`    hint: ${printable(line.hint)}`]),
      ];
    case 'note':
      return [`  (${printable(line.text)})`];
    case 'outcome': {
      const command = line.command === undefined ? '' : `, ${printable(line.command)}`;
      return [
        `  #${line.seq} ${line.status}${command}, ${line.rows} ${line.rows === 1 ? 'row' : 'rows'}, ${(line.durationUs / 1000).toFixed(1)} ms`,
      ];
    }
    case 'ended':
      return ['', `ended ${line.time}: ${line.reason}, ${line.count} records`];
  }
}

import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';
import { jsonLine } from './statements.ts';
import { printable } from './terminal.ts';

const usage = `usage: chaperone findings [--json] [--data DIR]

Lists what the collector found out of order, newest first: gaps, breaks, streams that fell silent, skewed clocks, batches
that were set aside.

  --json      a line of JSON each
  --data DIR  of the instance whose data is there`;

interface Finding {
  readonly time: string;
  readonly kind: string;
  readonly stream: string | null;
  readonly session?: string;
  readonly from?: number;
  readonly to?: number;
  readonly detail: string;
  readonly resolvedAt?: string;
}

/** `chaperone findings`. */
export const findings: Command = {
  name: 'findings',
  summary: 'lists what is out of order in the log',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, data: { type: 'string' } },
    });
    if (positionals.length > 0) throw new UsageError('findings takes no argument');
    const client = new CollectorClient(localCollector(findInstance(values.data)));
    let found = 0;
    for await (const page of client.pages<{ findings: Finding[]; next: number | null }>('/v1/findings')) {
      for (const finding of page.findings) {
        found += 1;
        process.stdout.write(values.json ? jsonLine(finding) : `${describe(finding)}\n`);
      }
    } // prettier-ignore
    if (found === 0 && !values.json) process.stdout.write('no findings\n');
    return 0;
  },
};

function describe(finding: Finding): string {
  const { time, kind, stream, session, from, to, detail, resolvedAt } = finding;
  const places = [from, to].filter((place) => place !== undefined).join('–');
  const where = [
    stream === null ? '' : ` stream ${stream}`,
    session === undefined ? '' : ` session ${session}`,
    places === '' ? '' : ` at ${places}`,
  ].join('');
  const resolved = resolvedAt === undefined ? '' : ` (resolved ${resolvedAt})`;
  return printable(`${time}  ${kind}${where}: ${detail}${resolved}`);
}

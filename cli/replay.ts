import { whoOfRecord } from '#core/policy/question.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { checkExpectations, readExpectations } from './expectations.ts';
import { findInstance, tryFindInstance } from './instance.ts';
import { podOptions, podUsage, readPolicies, workloadOf } from './policy-directory.ts';
import { PolicyTrial } from './policy-trial.ts';
import { recordedRequests, textOf, type RequestFilter } from './recorded-requests.ts';
import { ReplayTally, type Change, type ReplaySummary } from './replay-tally.ts';
import { jsonLine } from './statements.ts';
import { printable, table } from './terminal.ts';
import { TextReader, withoutCatalogue } from './text-reader.ts';
import { parseTime } from './time-words.ts';

const usage = `usage: chaperone replay DIR [--since WHEN] [--until WHEN] [--session ID] [--json] [--data DIR]
       chaperone replay DIR --expect FILE [--json] [--data DIR]

Says what recorded requests would have got under the policies in DIR, before they are put in force: what would change, by
which rule, how often, with examples. Nothing is run. Texts are read as the first of a session: what a session had set is
not known, and names are looked up with the search_path "$user", public, where a sidecar runs that knows the database.

  --since WHEN    of sessions begun since: 15m, 2h, 7d, or a time (default 1d)
  --until WHEN    of sessions begun before
  --session ID    of one session alone
  --expect FILE   instead of what was recorded, what the file wants: YAML, or JSON one a line, of
                  {as, groups, provider, backend, database, text, want: Allow or Deny, rule}; the exit code is 0 where all
                  comes out as wanted, and 1 with a list of what does not
${podUsage}
  --json          as JSON
  --data DIR      of the instance whose data is there`;

/** `chaperone replay`. */
export const replay: Command = {
  name: 'replay',
  summary: 'says what recorded requests would get under other policies',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        since: { type: 'string' },
        until: { type: 'string' },
        session: { type: 'string' },
        expect: { type: 'string' },
        json: { type: 'boolean', default: false },
        data: { type: 'string' },
        ...podOptions,
      },
    });
    const [directory, ...more] = positionals;
    if (directory === undefined || more.length > 0)
      throw new UsageError('replay needs one directory of policies');
    const { since, until, session, expect, json, data } = values;
    const isFiltered = since !== undefined || until !== undefined || session !== undefined;
    if (expect !== undefined && isFiltered)
      throw new UsageError(
        '--expect takes the place of what was recorded: leave out --since, --until and --session',
      );
    if (session !== undefined && (since !== undefined || until !== undefined))
      throw new UsageError('--session takes no --since or --until');
    const filter = filterOf({ since, until, session });
    const expectations = expect === undefined ? undefined : readExpectations(expect);
    const policies = await readPolicies(directory, workloadOf(values));
    if (expectations) {
      await using reader = new TextReader(tryFindInstance(data));
      return await checkExpectations(expectations, new PolicyTrial(policies, reader), json);
    }
    const instance = findInstance(data);
    await using reader = new TextReader(instance);
    const summary = await replayRecorded(
      new CollectorClient(localCollector(instance)),
      filter,
      new PolicyTrial(policies, reader),
    );
    print(summary, json);
    return 0;
  },
};

function filterOf({ since, until, session }: RequestFilter): RequestFilter {
  if (session !== undefined) return { session };
  const now = Date.now();
  return {
    since: parseTime(since ?? '1d', now),
    until: until === undefined ? undefined : parseTime(until, now, '--until'),
  };
}

async function replayRecorded(
  client: CollectorClient,
  filter: RequestFilter,
  trial: PolicyTrial,
): Promise<ReplaySummary> {
  const tally = new ReplayTally();
  for await (const request of recordedRequests(client, filter)) {
    const given = textOf(request);
    if ('why' in given) {
      tally.skip(given.why);
      continue;
    }
    const { backend, database, principal } = request;
    const who = whoOfRecord(principal);
    const judged = await trial.judge({ backend, database, text: given.text, who });
    if ('problem' in judged) tally.skip('noPlace');
    else tally.add(request, judged);
  }
  return tally.summary();
}

function print(summary: ReplaySummary, json: boolean): void {
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  if (json) return void process.stdout.write(jsonLine(summary));
  const { requests, same, changes, unlisted, notJudged } = summary;
  write(`${counted(requests, 'request')}, ${same} as before`);
  if (changes.length > 0) {
    write('');
    const cells = changes.map(({ count, was, wouldBe, by }) => [String(count), was, wouldBe, by]);
    for (const line of table(['requests', 'was', 'would be', 'by'], cells)) write(line);
    for (const change of changes) for (const line of exampleLines(change)) write(line);
  }
  if (unlisted > 0)
    write(`and ${counted(unlisted, 'request')} with changes of more kinds than are listed`);
  const { noText, noSql, limited, noPlace } = notJudged;
  const remarks: [number, string][] = [
    [noText, 'could not be judged: the text was not recorded, or was erased'],
    [noSql, 'could not be judged: cursors that were read on, and fast-path calls'],
    [limited, 'could not be judged: limits had refused them'],
    [
      noPlace,
      'could not be judged: the policies have no such Backend, or no such IdentityProvider',
    ],
    [summary.unreadable, 'cannot be read, and are denied wherever rules enforce'],
    [summary.withoutCatalogue, `were judged without a catalogue: ${withoutCatalogue}`],
    [summary.unknownNames, 'name what the catalogue does not have'],
  ];
  write('');
  for (const [count, what] of remarks) if (count > 0) write(`${count} ${what}`);
  write('Assumed: the search_path "$user", public, and that every text came first in its session.');
  return undefined;
}

function exampleLines({ was, wouldBe, by, examples }: Change): readonly string[] {
  const lines = examples.map(({ at, text }) => `  ${at}  ${printable(text)}`);
  return ['', `${was} → ${wouldBe}, by ${by}`, ...lines];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

import { ChaperoneError } from '#core/errors.ts';
import {
  answer,
  unreadProtocol,
  whoOfRecord,
  type Answer,
  type Question,
} from '#core/policy/question.ts';
import { isSql } from '#core/postgres/request.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { explanationLines } from './explanation.ts';
import { findInstance } from './instance.ts';
import {
  podOptions,
  podUsage,
  readPolicies,
  workloadOf,
  type PodValues,
} from './policy-directory.ts';
import { requestsOf, type RecordedRequest } from './recorded-requests.ts';
import { SidecarClient } from './sidecar-client.ts';
import { jsonLine } from './statements.ts';
import { printable } from './terminal.ts';
import { TextReader } from './text-reader.ts';
import { decidedBy, deniedCode, verdictWord } from './verdict-words.ts';

const usage = `usage: chaperone explain --as USER[,GROUP…] --backend NAME [--provider NAME] [--database NAME] SQL
       chaperone explain SESSION[#SEQ]
       either with [--config DIR] [--json] [--data DIR]

Says whether SQL would be allowed, which rule decides, and what became of the others; or why a recorded session's last
refused request was refused, or the one with that number. Nothing is run. The running sidecar is asked, whose policies are
in force and who knows the catalogue.

  --as USER[,GROUP…]  as whom, with the groups that a token would name
  --backend NAME      at this Backend
  --provider NAME     whose token it would be, where there are several IdentityProviders
  --database NAME     in this database: names are looked up there
  --config DIR        by the policies of a directory instead; no catalogue is known then
${podUsage}
  --json              as JSON
  --data DIR          of the instance whose data is there

The exit code is 0 for what is allowed and ${deniedCode} for what is denied.`;

/** `chaperone explain`. */
export const explain: Command = {
  name: 'explain',
  summary: 'says why SQL would be allowed or denied, or why something was',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        as: { type: 'string' },
        backend: { type: 'string' },
        provider: { type: 'string' },
        database: { type: 'string' },
        config: { type: 'string' },
        json: { type: 'boolean', default: false },
        data: { type: 'string' },
        ...podOptions,
      },
    });
    const [subject, ...more] = positionals;
    if (subject === undefined) throw new UsageError('explain needs SQL, or the id of a session');
    if (more.length > 0) throw new UsageError('quote the SQL: it has to be one argument');
    const { as, backend, provider, database } = values;
    const source: Source = { ...values };
    refuseUnused(source, database);
    if (as === undefined) {
      if (backend !== undefined || provider !== undefined || database !== undefined)
        throw new UsageError(
          'explain needs --as for SQL; a recorded request says itself whose it is',
        );
      return explainRecorded(subject, source);
    }
    if (backend === undefined) throw new UsageError('explain needs --backend');
    const [user = '', ...groups] = as.split(',');
    if (user === '') throw new UsageError('--as: want USER or USER,GROUP…');
    const who = { kind: 'token', user, groups, provider } as const;
    return tell({ backend, database, text: subject, who }, source, undefined);
  },
};

/** What would have no effect: the sidecar goes by its own pod, and policies of a directory know no catalogue. */
function refuseUnused(source: Source, database: string | undefined): void {
  if (source.config !== undefined && database !== undefined)
    throw new UsageError(
      '--database is for the running sidecar: with --config no catalogue is known',
    );
  const unused = Object.keys(podOptions).find((name) => new Map(Object.entries(source)).has(name));
  if (source.config === undefined && unused !== undefined)
    throw new UsageError(
      `--${unused} is for --config: the running sidecar is asked for its own pod`,
    );
}

interface Source extends PodValues {
  readonly config?: string | undefined;
  readonly data?: string | undefined;
  readonly json: boolean;
}

async function explainRecorded(named: string, source: Source): Promise<number> {
  const [, id = '', seq] = /^([0-9a-f][0-9a-f-]{5,35})(?:#(\d{1,15}))?$/.exec(named) ?? [];
  if (id === '')
    throw new UsageError('without --as, explain takes the id of a session, or SESSION#SEQ');
  const client = new CollectorClient(localCollector(findInstance(source.data)));
  const session = await client.session(id);
  let found: RecordedRequest | undefined;
  for await (const request of requestsOf(client, session)) {
    const isWanted =
      seq === undefined ? request.verdict.action === 'Deny' : request.seq === Number(seq);
    if (isWanted) found = request;
    if (isWanted && seq !== undefined) break;
  }
  if (!found) {
    const what = seq === undefined ? 'no refused request' : `no request #${seq}`;
    throw new ChaperoneError('config-invalid', `session ${session.id} has ${what}; what is just recorded takes a second to be stored`); // prettier-ignore
  }
  const { seq: number, text = session.protocol === 'TCP' ? '' : undefined } = found;
  if (text === undefined)
    throw new ChaperoneError('config-invalid', `the text of #${number} was not recorded, or was erased`); // prettier-ignore
  if (!isSql(text))
    throw new ChaperoneError('config-invalid', `#${number} has no SQL: ${printable(text)}`);
  const { backend, database, principal } = found;
  return tell({ backend, database, text, who: whoOfRecord(principal) }, source, found);
}

async function tell(
  question: Question,
  source: Source,
  recorded: RecordedRequest | undefined,
): Promise<number> {
  const answered = await ask(question, source);
  if (answered.problem !== undefined) throw new ChaperoneError('config-invalid', answered.problem);
  const { action } = answered.explanation.verdict.recorded;
  if (source.json) {
    const { session, seq, verdict } = recorded ?? {};
    const then = recorded ? { recorded: { session, seq, verdict } } : {};
    process.stdout.write(jsonLine({ question, ...then, ...answered }));
  } else {
    const lines = [
      ...(recorded ? recordedLines(recorded, answered.revision) : []),
      ...explanationLines(question, answered),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  }
  return action === 'Deny' ? deniedCode : 0;
}

function recordedLines(
  { session, seq, time, verdict }: RecordedRequest,
  revision: string,
): readonly string[] {
  const then = `#${seq} of session ${session}, ${time}: ${verdictWord(verdict)} by ${decidedBy(verdict)}`;
  const since =
    verdict.revision === revision
      ? 'The same policies are asked now:'
      : 'Other policies are asked now:';
  const limited = verdict.reason === 'limit' ? ['A limit on use refused it, and limits are not asked here.'] : []; // prettier-ignore
  return [then, ...limited, since, ''];
}

async function ask(question: Question, { config, data, ...pod }: Source): Promise<Answer> {
  if (config === undefined) {
    const answered = await new SidecarClient(findInstance(data).sidecar.adminSocket).explain(
      question,
    );
    if (answered.problem !== undefined || question.database !== undefined) return answered;
    return { ...answered, notes: [...answered.notes, 'with --database names are looked up there'] };
  }
  const policies = await readPolicies(config, workloadOf(pod));
  await using reader = new TextReader(undefined);
  const { backend } = question;
  const isTcp = policies.bundle.backends.get(backend)?.protocol === 'TCP';
  const understood = isTcp ? unreadProtocol : await reader.read(question);
  return answer(policies, question, understood);
}

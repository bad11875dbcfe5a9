import { hash } from 'node:crypto';
import type { Principal, Workload } from '#core/identity/principal.ts';
import { parseResource } from '#core/policy/parse.ts';
import { unreadProtocol, type Understood } from '#core/policy/question.ts';
import { suggest as suggestFor, Usage, type Seen } from '#core/policy/suggest.ts';
import { Recent } from '#core/record/recent.ts';
import type { RecordedPrincipal } from '#core/record/kinds.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';
import {
  recordedRequests,
  textOf,
  type RecordedRequest,
  type RequestFilter,
} from './recorded-requests.ts';
import { suggestionYaml } from './suggestion-yaml.ts';
import { TextReader, withoutCatalogue } from './text-reader.ts';
import { parseTime } from './time-words.ts';

const usage = `usage: chaperone suggest [--since WHEN] [--principal USER] [--backend NAME] [--data DIR]

Writes the least policy that allows what was seen, in YAML, with how often as comments; what was denied is not in it. It
observes: look through it, try it with "chaperone replay", and let it enforce. What it leaves out it says on standard error.

  --since WHEN      of sessions begun since: 15m, 2h, 7d, or a time (default 7d)
  --principal USER  of this principal alone
  --backend NAME    at this Backend alone
  --data DIR        of the instance whose data is there`;

/** `chaperone suggest`. */
export const suggest: Command = {
  name: 'suggest',
  summary: 'writes the least policy that allows what was seen',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        since: { type: 'string', default: '7d' },
        principal: { type: 'string' },
        backend: { type: 'string' },
        data: { type: 'string' },
      },
    });
    if (positionals.length > 0) throw new UsageError('suggest takes no argument');
    const { principal: who, backend, data } = values;
    const since = parseTime(values.since, Date.now());
    const instance = findInstance(data);
    await using reader = new TextReader(instance);
    const survey = new UsageSurvey(reader);
    await survey.take(new CollectorClient(localCollector(instance)), { since, who, backend });
    process.stdout.write(survey.yaml());
    for (const line of survey.remarks()) process.stderr.write(`${line}\n`);
    return 0;
  },
};

/** Readings that are kept, as bytes: some eight for each character of a text. Past it the oldest is made anew. */
const maxKeptBytes = 64 * 1024 * 1024;
const bytesOf = (text: string): number => 1_000 + 8 * text.length;

interface Known {
  readonly understood: Understood;
  /** Whether rules can say it. */
  readonly isWritable: boolean;
}

/** Adds up what recorded requests did. */
class UsageSurvey {
  readonly #reader: TextReader;
  readonly #usage = new Usage();
  readonly #kept = new Recent<Known, string>(maxKeptBytes);
  readonly #skipped = { denied: 0, noText: 0, noSql: 0, limited: 0, unwritable: 0 };
  #blind = 0;
  #unknown = 0;

  constructor(reader: TextReader) {
    this.#reader = reader;
  }

  async take(client: CollectorClient, filter: RequestFilter): Promise<void> {
    for await (const request of recordedRequests(client, filter)) await this.#add(request);
  }

  yaml(): string {
    const text = suggestionYaml(this.#usage.suggestion());
    return text === '' ? '# nothing was seen that a rule could allow\n' : `${text}\n`;
  }

  remarks(): readonly string[] {
    const { unreadable, opaque } = this.#usage.suggestion();
    const { denied, noText, noSql, limited, unwritable } = this.#skipped;
    const counts: [number, string][] = [
      [denied, 'left out: they were denied'],
      [limited, 'left out: limits had refused them'],
      [noText, 'left out: the text was not recorded, or was erased'],
      [noSql, 'left out: cursors that were read on, and fast-path calls'],
      [unreadable, 'left out: they cannot be read'],
      [unwritable, 'left out: no rule can name what they use, or who they are'],
      [opaque, 'run what nobody can read before: look at their rules twice'],
      [this.#unknown, 'name what the catalogue does not have'],
      [this.#blind, `were read without a catalogue: ${withoutCatalogue}`],
    ];
    return counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  }

  async #add(request: RecordedRequest): Promise<void> {
    const { verdict, backend, database, principal } = request;
    const given = textOf(request);
    if ('why' in given) {
      this.#skipped[given.why] += 1;
      return;
    }
    if (verdict.action === 'Deny') {
      this.#skipped.denied += 1;
      return;
    }
    const { text } = given;
    const who = principalOf(principal);
    const workload = workloadOf(request);
    const key = hash('sha256', JSON.stringify([backend, database, text, principal]), 'base64');
    const seenAs = ({ facts }: Understood): Seen => ({ facts, who, workload, backend, count: 1 });
    let known = this.#kept.get(key);
    if (!known) {
      const understood = await this.#understand(request, text);
      known = { understood, isWritable: isWritable(seenAs(understood)) };
      this.#kept.set(key, known, bytesOf(text));
    }
    const { understood, isWritable: writable } = known;
    if (!writable) {
      this.#skipped.unwritable += 1;
      return;
    }
    if (understood.unknown.length > 0) this.#unknown += 1;
    if (!understood.hasCatalogue && understood.facts.protocol === 'Postgres') this.#blind += 1;
    this.#usage.add(seenAs(understood));
  }

  async #understand(
    { protocol, backend, database }: RecordedRequest,
    text: string,
  ): Promise<Understood> {
    if (protocol === 'TCP') return unreadProtocol;
    return this.#reader.read({ backend, database, text });
  }
}

/** Whether rules can say it: a user's name with a control character, for one, cannot be written down. */
function isWritable(seen: Seen): boolean {
  return suggestFor([seen]).policies.every(
    (policy) => parseResource(policy).resource !== undefined,
  );
}

function principalOf({
  kind,
  user,
  groups = [],
  provider = '',
  issuer = '',
}: RecordedPrincipal): Principal {
  if (kind === 'workload') return { kind, user };
  return { kind, provider, issuer, user, groups, expiresAt: Number.MAX_SAFE_INTEGER };
}

/** The pod that a request came from: its account is known where it was the principal, and matters nowhere else. */
function workloadOf({ namespace, principal }: RecordedRequest): Workload {
  const serviceAccount =
    principal.kind === 'workload' ? (principal.user.split(':').at(-1) ?? '') : '';
  return { pod: '', namespace, serviceAccount, labels: new Map() };
}

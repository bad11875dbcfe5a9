import { isIP } from 'node:net';
import type { KnownName, KnownNames } from '#core/dns/known-names.ts';
import { maxTtlSeconds, type LearnedNames } from '#core/dns/learned-names.ts';
import type { DnsAnswer, DnsQuery } from '#core/dns/packet.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { Ready } from '../ready.ts';
import type { NameResolver } from './upstream-resolver.ts';

export interface NameServiceOptions {
  /** Names of the bundle in force; undefined while there is none. */
  readonly known: () => KnownNames | undefined;
  /** What the policies in force say of a name that no Backend has. */
  readonly unknownHost: () => RecordedVerdict;
  readonly resolver: NameResolver;
  readonly learned: LearnedNames;
  /** Records that an agent asked for a name that policy does not know; settles when it may be asked for outside. */
  readonly record: (lookup: Lookup, verdict: RecordedVerdict) => Ready;
  readonly nowMs: () => number;
}

/** A question, as it is recorded. */
export interface Lookup {
  readonly name: string;
  readonly type: string;
}

interface Remembered {
  readonly answer: Promise<DnsAnswer>;
  untilMs: number;
}

const nothing: DnsAnswer = { code: 'NOERROR', records: [] };
const noSuchName: DnsAnswer = { code: 'NXDOMAIN', records: [] };
const failed: DnsAnswer = { code: 'SERVFAIL', records: [] };

/** What is answered of a name that policy knows. */
const knownTypes: ReadonlySet<string> = new Set(['A', 'AAAA', 'SRV', 'CNAME']);
/** SVCB and HTTPS (RFC 9460) would lead clients to QUIC and to names that are encrypted. */
const hiddenTypes: ReadonlySet<string> = new Set(['UNKNOWN_64', 'UNKNOWN_65', 'SVCB', 'HTTPS']);
const maxRemembered = 1_024;
const maxAtOnce = 128; // what is asked outside and not answered yet
const maxAliases = 1_024;
const aliasMs = 3_600_000;
const negativeSeconds = 5;

/**
 * Answers what agents ask of names. A name that policy knows is looked up; of any other `unknownHosts` decides, and what is
 * asked outside is on record before. Repeated questions are answered from memory, so that what is recorded is what left.
 */
export class NameService {
  readonly #options: NameServiceOptions;
  readonly #remembered = new Map<string, Remembered>();
  /** Names that SRV and CNAME of known ones led to: these are as known. */
  readonly #aliases = new Map<string, { readonly host: string; readonly untilMs: number }>();
  #atOnce = 0;

  constructor(options: NameServiceOptions) {
    this.#options = options;
  }

  async answer({ name, type }: DnsQuery): Promise<DnsAnswer> {
    const known = this.#options.known();
    if (!known) return failed;
    const found = known.find(name) ?? this.#findAlias(known, name);
    if (found) return this.#answerKnown({ name, type }, found);
    const verdict = this.#options.unknownHost();
    if (verdict.action === 'Deny') {
      if (!known.isExpansion(name)) void this.#options.record({ name, type }, verdict);
      return noSuchName;
    }
    if (name === '' || hiddenTypes.has(type)) return nothing;
    const answer = await this.#ask({ name, type }, async () => {
      const stop = await this.#options.record({ name, type }, verdict);
      return stop === undefined;
    });
    this.#learn(answer, name);
    return answer;
  }

  async #answerKnown(asked: Lookup, { host, exact, backends }: KnownName): Promise<DnsAnswer> {
    if (!knownTypes.has(asked.type)) return nothing;
    let answer = await this.#ask(asked);
    // A name that exists for agents alone: they are told of the upstream, though the sidecar does not go by it.
    if (exact && answer.code !== 'NOERROR' && asked.type !== 'SRV' && asked.type !== 'CNAME')
      answer = await this.#upstreamOf(backends[0]?.upstream.host ?? '', asked.type);
    this.#learn(answer, host);
    for (const record of answer.records) {
      if (record.type === 'SRV') this.#alias(record.data.target, host);
      if (record.type === 'CNAME') this.#alias(record.data, host);
    }
    return answer;
  }

  async #upstreamOf(host: string, type: string): Promise<DnsAnswer> {
    const version = isIP(host);
    if (version === 0) return this.#ask({ name: host.toLowerCase(), type });
    if (version === 4 && type === 'A')
      return { code: 'NOERROR', records: [{ type, ttl: maxTtlSeconds, data: host }] };
    if (version === 6 && type === 'AAAA')
      return { code: 'NOERROR', records: [{ type, ttl: maxTtlSeconds, data: host }] };
    return nothing;
  }

  /** Asks outside unless the answer is remembered, or somebody is asking the same; `permit` says whether it may. */
  async #ask(asked: Lookup, permit?: () => Promise<boolean>): Promise<DnsAnswer> {
    const key = `${asked.type} ${asked.name}`;
    const remembered = this.#remembered.get(key);
    if (remembered && remembered.untilMs > this.#options.nowMs()) return remembered.answer;
    if (this.#atOnce >= maxAtOnce) return failed;
    // Whoever asks the same meanwhile waits for the same answer.
    const entry: Remembered = { answer: this.#askAnew(asked, permit), untilMs: Infinity };
    this.#remembered.delete(key);
    this.#remembered.set(key, entry);
    if (this.#remembered.size > maxRemembered) {
      const [oldest] = this.#remembered.keys();
      if (oldest !== undefined) this.#remembered.delete(oldest);
    }
    let seconds = 0;
    try {
      const answer = await entry.answer;
      seconds = lifeOf(answer);
      return answer;
    } finally {
      entry.untilMs = this.#options.nowMs() + 1_000 * seconds;
    }
  }

  async #askAnew({ name, type }: Lookup, permit?: () => Promise<boolean>): Promise<DnsAnswer> {
    this.#atOnce += 1;
    try {
      if (permit && !(await permit())) return failed;
      const { code, records } = await this.#options.resolver.resolve(name, type);
      return {
        code,
        records: records.map((record) => ({ ...record, ttl: Math.min(record.ttl, maxTtlSeconds) })),
      };
    } finally {
      this.#atOnce -= 1;
    }
  }

  #learn({ records }: DnsAnswer, name: string): void {
    for (const record of records)
      if (record.type === 'A' || record.type === 'AAAA')
        this.#options.learned.learn(record.data, name, this.#options.nowMs());
  }

  #alias(target: string, host: string): void {
    const name = target.toLowerCase();
    this.#aliases.delete(name);
    this.#aliases.set(name, { host, untilMs: this.#options.nowMs() + aliasMs });
    if (this.#aliases.size <= maxAliases) return;
    const [oldest] = this.#aliases.keys();
    if (oldest !== undefined) this.#aliases.delete(oldest);
  }

  #findAlias(known: KnownNames, name: string): KnownName | undefined {
    const alias = this.#aliases.get(name);
    if (!alias || alias.untilMs <= this.#options.nowMs()) return undefined;
    const found = known.find(alias.host);
    return found && { ...found, exact: false };
  }
}

/** How long an answer is remembered, in seconds; one that failed is asked for again at once. */
function lifeOf({ code, records }: DnsAnswer): number {
  if (code === 'SERVFAIL') return 0;
  if (records.length === 0) return negativeSeconds;
  return Math.min(...records.map(({ ttl }) => ttl));
}

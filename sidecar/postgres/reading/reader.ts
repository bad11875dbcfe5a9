import { isPromise } from 'node:util/types';
import type { PostgresFacts, StatementFacts } from '#core/facts.ts';
import type { Unreadable, UnreadableCause } from '#core/operation.ts';
import type { TransactionStatus } from '#core/postgres/backend.ts';
import type { Survey } from '#core/postgres/sql/survey.ts';
import type { Catalogue } from '#core/postgres/sql/catalogue.ts';
import { maxJudgedTextBytes, type Grammar } from '../grammar/grammar.ts';
import type { Reading as FromGrammar } from '../grammar/reading.ts';
import { Definitions } from './definitions.ts';
import { anyEffects, joinEffects, noEffects, type Effects } from './effects.ts';
import { KnownTexts, type Known, type Remembered } from './known-texts.ts';
import { changesMidway } from './midway.ts';
import { resolveStatement, resolveText, type Reading, type ResolvedText } from './readings.ts';
import { unreadText, unknownExecute } from './plain-facts.ts';
import type { TextMeaning } from './settings-query.ts';

/** What the database knows of names; undefined while it is not known. */
export interface CatalogueSource {
  readonly current: Catalogue | undefined;
  load(): Promise<void>;
}

export interface ReaderOptions {
  readonly grammar: Pick<Grammar, 'read'>;
  readonly catalogue: CatalogueSource;
  /** Whether policies in force ask what texts do: else nothing is read. */
  readonly needed: () => boolean;
}

/** Where the session's connection stands. */
export interface Place {
  /** Whether everything that was admitted has been sent and answered. */
  readonly idle: boolean;
  /** Whether the backend would answer a query of the lane's own here. */
  readonly mayAsk: boolean;
  readonly status: TransactionStatus;
}

/**
 * What has to happen before a text can be judged: earlier messages get their replies, the backend says its settings, or
 * something settles.
 */
export type Obstacle = 'replies' | 'settings' | Promise<void>;

/** What is to be judged: a text, or what a name stands for. */
export type Subject =
  | { readonly kind: 'text'; readonly text: Buffer }
  | { readonly kind: 'name'; readonly name: string; readonly known: Remembered | undefined };

/** What reading a text comes to. */
type Parsed =
  | Exclude<FromGrammar, { kind: 'unreadable' }>
  | { readonly kind: 'unreadable'; readonly because: UnreadableCause };

const undecodable: Parsed = {
  kind: 'unreadable',
  because: 'its encoding or its backslashes may mean something else',
};

const maxAsks = 3; // in a row that came to nothing
const unread: Reading = { facts: unreadText, effects: noEffects };

/**
 * Says what the texts of one session do: reads them with PostgreSQL's grammar, under the settings that the session has and
 * the catalogue of its database. Where one of these is not known yet it names the obstacle, and the text waits.
 */
export class Reader {
  readonly #options: ReaderOptions;
  readonly #texts = new KnownTexts();
  /** Undefined while something that ran may have changed it. */
  #meaning: TextMeaning | undefined;
  #lastMeaning: TextMeaning | undefined;
  /** Under which things are read now. In a transaction that has failed nothing runs but its end: the last one will do. */
  #usable: TextMeaning | undefined;
  #catalogueStale = false;
  /** Something has changed settings: in the pipeline that no Sync has ended yet, or before, in an open transaction. */
  #setInPipeline = false;
  #setInTransaction = false;
  /** Of the open transaction. */
  readonly #definitions = new Definitions();
  #failedAsks = 0;
  /** Grows with everything that may give a name another meaning. */
  #changes = 0;
  /** Whether there was a look at the catalogue, which may have to be read first. */
  #looked = false;
  /** Texts that were read, by the very buffers that hold them. */
  readonly #parsed = new WeakMap<
    Buffer,
    { readonly meaning: TextMeaning; readonly parsed: Parsed }
  >();
  #loadedFor: Survey | undefined;
  /** Whether the catalogue was loaded anew for the message that waits. */
  #loaded = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** What keeps something from being judged now. */
  obstacle(subject: Subject, { idle, mayAsk, status }: Place): Obstacle | undefined {
    const { needed, catalogue } = this.#options;
    this.#usable = undefined;
    if (!needed()) {
      this.#meaning = undefined; // what is not read may change it
      return undefined;
    }
    if (!this.#meaning && !idle) return 'replies';
    if (!this.#meaning && mayAsk && this.#failedAsks < maxAsks) return 'settings';
    this.#usable = this.#meaning ?? (status === 'E' ? this.#lastMeaning : undefined);
    if (this.#catalogueStale && !idle) return 'replies';
    if (this.#catalogueStale && status === 'I') {
      this.#catalogueStale = false;
      return catalogue.load();
    }
    if (!this.#looked) {
      this.#looked = true;
      if (!catalogue.current) return catalogue.load();
    }
    for (const text of this.#textsOf(subject)) {
      const waits = this.#waitsFor(text);
      if (waits) return waits;
    }
    return undefined;
  }

  /** Takes what the backend has said of its settings; undefined where it has not. */
  learn(meaning: TextMeaning | undefined): void {
    this.#failedAsks = meaning ? 0 : this.#failedAsks + 1;
    if (!meaning) return;
    this.#meaning = meaning;
    this.#lastMeaning = meaning;
  }

  /** What is known of a subject now; to be asked once nothing is in its way. */
  read(subject: Subject): Reading {
    this.#loaded = false;
    if (!this.#options.needed()) return unread;
    if (subject.kind === 'text') return this.#readText(subject.text);
    const { name, known } = subject;
    const candidates = known?.known ? [known.known] : this.#texts.candidates(name);
    if (!candidates || candidates.length === 0) return unknownStatement;
    return joinReadings(candidates.map((candidate) => this.#readKnown(candidate)));
  }

  /** The same number as long as nothing has gone up that may give a name another meaning. */
  get changes(): number {
    return this.#changes;
  }

  /** Notes a statement that a Parse names. */
  remember(name: string, text: Buffer): Remembered {
    const own = Buffer.from(text);
    const parsed = this.#parsed.get(text);
    if (parsed) this.#parsed.set(own, parsed);
    const known: Known = { kind: 'text', text: own };
    return name === '' ? { known } : this.#texts.remember(name, known);
  }

  /** Notes that something goes up whose running may change what others mean. */
  runs(effects: Effects): void {
    const { meaning, catalogue, ends } = effects;
    if (!this.#options.needed()) return;
    if (meaning || (ends && this.#mayBeTakenBack)) this.#forgetMeaning();
    this.#setInPipeline ||= meaning;
    if (catalogue || (ends && this.#definitions.any)) {
      this.#catalogueStale = true;
      this.#changes += 1;
    }
    this.#definitions.add(effects, this.#usable?.key ?? '');
  }

  /** Notes what a text that goes up makes names stand for. */
  runsText(text: Buffer): void {
    if (!this.#options.needed()) return;
    const survey = this.#surveyOf(text);
    for (const { prepares } of survey?.statements ?? []) {
      if (!prepares) continue;
      const { name, statement } = prepares;
      this.#texts.remember(name, { kind: 'statement', statement, bytes: text.length * 4 });
    }
  }

  /** Something has failed: what was set in it is taken back, where it was. */
  failed(): void {
    if (this.#mayBeTakenBack) this.#forgetMeaning();
  }

  /** A message that ends a pipeline goes up: where no BEGIN opened the transaction, that ends as well. */
  endsPipeline(): void {
    if (this.#definitions.any) this.#catalogueStale = true;
    if (!this.#setInPipeline) return;
    this.#setInPipeline = false;
    this.#setInTransaction = true;
    this.#forgetMeaning();
  }

  /** Every reply has come, and no transaction is open but one that a pipeline has begun: `within` it. */
  settled(within: boolean): void {
    this.#setInTransaction = false;
    if (!within) this.#definitions.clear();
  }

  #forgetMeaning(): void {
    this.#meaning = undefined;
    this.#changes += 1;
  }

  get #mayBeTakenBack(): boolean {
    return this.#setInPipeline || this.#setInTransaction;
  }

  /** Every prepared statement is gone, as the backend has said. */
  forgetNames(): void {
    this.#texts.clear();
  }

  #textsOf(subject: Subject): readonly Buffer[] {
    if (subject.kind === 'text') return [subject.text];
    const known = subject.known?.known
      ? [subject.known.known]
      : this.#texts.candidates(subject.name);
    return known?.flatMap((one) => (one.kind === 'text' ? one.text : [])) ?? [];
  }

  #waitsFor(bytes: Buffer): Promise<void> | undefined {
    const parsed = this.#parse(bytes);
    return isPromise(parsed) ? parsed : this.#waitsForNames(parsed);
  }

  /** The catalogue may be behind: it is loaded anew, once, where it lacks a name. */
  #waitsForNames(result: Parsed | undefined): Promise<void> | undefined {
    const { catalogue } = this.#options;
    const meaning = this.#usable;
    if (result?.kind !== 'survey' || !meaning || !catalogue.current) return undefined;
    if (this.#loaded || this.#loadedFor === result.survey) return undefined;
    if (!resolveText(result.survey, meaning, catalogue.current).hasUnknown) return undefined;
    this.#loadedFor = result.survey;
    this.#loaded = true;
    return this.#definitions.any ? undefined : catalogue.load();
  }

  #readKnown(known: Known): Reading {
    if (known.kind === 'text') return this.#readText(known.text);
    const meaning = this.#usable;
    if (!meaning) return this.#withoutSettings();
    const { current } = this.#options.catalogue;
    const statement = resolveStatement(known.statement, meaning, current);
    const { facts, effects } = statement;
    const reading = { facts: { protocol: 'Postgres', statements: [facts] }, effects } as const;
    return this.#underDefinitions({ statements: [statement], reading });
  }

  #readText(bytes: Buffer): Reading {
    const meaning = this.#usable;
    if (!meaning) return this.#withoutSettings();
    const result = this.#parse(bytes);
    if (!result || isPromise(result)) return cannot('it was not read in time');
    switch (result.kind) {
      case 'syntax-error':
        return { facts: { ...unreadable('it is no SQL'), error: result }, effects: noEffects };
      case 'unreadable':
        return cannot(result.because);
      case 'survey':
        return this.#inContext(
          resolveText(result.survey, meaning, this.#options.catalogue.current),
        );
    }
  }

  /** The backend did not say: it is asked again for the next text. */
  #withoutSettings(): Reading {
    this.#failedAsks = 0;
    return cannot('its settings are not known');
  }

  /** What else a text means for what ran before it, and for its own statements. */
  #inContext(text: ResolvedText): Reading {
    if (text.statements.length > 1 && changesMidway(text, this.#mayBeTakenBack))
      return cannot('a statement in it changes what those behind it mean');
    const executed = this.#executed(text);
    const own = this.#underDefinitions(text);
    return executed ? joinReadings([own, ...executed]) : own;
  }

  /** What a name stands for that the open transaction has moved, nobody else can see. */
  #underDefinitions({ statements, reading }: Omit<ResolvedText, 'hasUnknown'>): Reading {
    const key = this.#usable?.key ?? '';
    if (!this.#definitions.any) return reading;
    if (!statements.some((one) => this.#definitions.mayChange(one, key))) return reading;
    const opaque = reading.facts.statements.map((facts) => ({ ...facts, isOpaque: true }));
    return { ...reading, facts: { protocol: 'Postgres', statements: opaque } };
  }

  /** What EXECUTE runs, by what its name may stand for. */
  #executed(text: ResolvedText): readonly Reading[] | undefined {
    const prepared = new Map<string, Known[]>();
    let readings: Reading[] | undefined;
    for (const { survey } of text.statements) {
      const { prepares, executes } = survey;
      if (prepares) {
        const known: Known = { kind: 'statement', statement: prepares.statement, bytes: 0 };
        prepared.set(prepares.name, [...(prepared.get(prepares.name) ?? []), known]);
      }
      if (executes === undefined) continue;
      readings ??= [];
      const own = prepared.get(executes);
      const candidates = this.#texts.candidates(executes) ?? (own ? [] : undefined);
      const all = candidates && [...candidates, ...(own ?? [])];
      if (!all || all.length === 0) readings.push(unknownStatement);
      else readings.push(...all.map((known) => this.#readKnown(known)));
    }
    return readings;
  }

  /** Reads bytes as the backend will; the same bytes only once, while the settings are the same. */
  #parse(bytes: Buffer): Parsed | Promise<void> | undefined {
    const meaning = this.#usable;
    if (!meaning) return undefined;
    const known = this.#parsed.get(bytes);
    if (known?.meaning === meaning) return known.parsed;
    const parsed = this.#parseAnew(bytes, meaning);
    const keep = (read: Parsed): void => void this.#parsed.set(bytes, { meaning, parsed: read });
    if (isPromise(parsed)) return parsed.then(keep);
    keep(parsed);
    return parsed;
  }

  #parseAnew(bytes: Buffer, { decode, standardStrings }: TextMeaning): Parsed | Promise<Parsed> {
    if (bytes.length > maxJudgedTextBytes) return { kind: 'unreadable', because: 'too long' };
    const text = decode(bytes);
    if (text === undefined || (!standardStrings && text.includes('\\'))) return undecodable;
    return this.#options.grammar.read(text, this);
  }

  #surveyOf(bytes: Buffer): Survey | undefined {
    const parsed = this.#parse(bytes);
    return !isPromise(parsed) && parsed?.kind === 'survey' ? parsed.survey : undefined;
  }
}

function unreadable(because: UnreadableCause): Unreadable {
  return { protocol: 'Unreadable', because };
}

function cannot(because: UnreadableCause): Reading {
  return { facts: unreadable(because), effects: anyEffects };
}

/** A name of which nobody knows what it stands for. */
const unknownStatement: Reading = { facts: unknownExecute, effects: anyEffects };

function joinReadings(readings: readonly Reading[]): Reading {
  const [first = unknownStatement] = readings;
  if (readings.length === 1) return first;
  const statements: StatementFacts[] = [];
  for (const { facts } of readings) {
    if (facts.protocol !== 'Postgres') return { facts, effects: anyEffects };
    statements.push(...facts.statements);
  }
  const facts: PostgresFacts = { protocol: 'Postgres', statements };
  return { facts, effects: readings.map(({ effects }) => effects).reduce(joinEffects) };
}

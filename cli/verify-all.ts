import { setTimeout as delay } from 'node:timers/promises';
import { ChaperoneError } from '#core/errors.ts';
import { verifyExport, type Report, type Trust, type Verdict } from '#core/record/verify-export.ts';
import { checkLedger, LedgerClaims, type LedgerVerdict } from '#core/record/verify-ledger.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { sentenceOf } from './error-sentence.ts';
import type { Instance } from './instance.ts';
import { printable } from './terminal.ts';
import { ledgerLines, ofInstance, type GivenTrust } from './trust.ts';
import { exitCodes, unchecked, verdictLine, worstCode } from './verdict.ts';

/** A stream as the collector lists it. */
interface StreamRow {
  readonly stream: string;
  readonly pod: string;
  readonly namespace: string;
  readonly ackedSeq: number;
  readonly headLink: string | null;
}

interface StreamPage {
  readonly streams: readonly StreamRow[];
  readonly next: string | null;
}

type Say = (line: string) => void;

const retryMs = 1_000;

/** Verifies the ledger, its copy outside the store, and every stream. Returns the exit code. */
export async function verifyAll(instance: Instance, given: GivenTrust, say: Say): Promise<number> {
  const client = new CollectorClient(localCollector(instance));
  const trust = ofInstance(instance, given);
  const claims = new LedgerClaims();
  const codes = [await checkLedgers(client, instance, { trust, claims, say })];
  const check = new StoreCheck(client, { keys: trust.keys, ledger: claims });
  const ofStreams: number[] = [];
  const missing = new Set(claims.streams);
  for await (const { streams } of client.pages<StreamPage>('/v1/streams')) {
    for (const row of streams) {
      missing.delete(row.stream);
      const { code, text } = await outcomeOf(check, row);
      ofStreams.push(code);
      say(`stream ${row.stream} of ${printable(`${row.namespace}/${row.pod}`)}: ${text}`);
    }
  }
  for (const stream of missing) {
    const { lastSeq, cuts } = claims.of(stream);
    if (Math.max(...cuts.keys()) >= lastSeq) continue; // retention dropped all of it
    ofStreams.push(exitCodes.broken);
    say(`stream ${stream}: broken at 1: the ledger has records up to ${lastSeq}, and the store has no such stream`); // prettier-ignore
  }
  codes.push(...ofStreams);
  say(summary(worstCode(codes) === exitCodes.broken, ofStreams));
  return worstCode(codes);
}

/** Sums up what was found: a stream that is being written has no end, and is no cause for alarm. */
function summary(isBroken: boolean, codes: readonly number[]): string {
  const names: readonly [code: number, what: string][] = [
    [exitCodes.complete, 'complete'],
    [exitCodes.unbroken, 'without a proven end, as any that is being written'],
    [exitCodes.consistent, 'of unproven origin'],
    [exitCodes.broken, 'broken or not checked'],
  ];
  const counted = names.flatMap(([code, what]) => {
    const count = codes.filter((each) => each === code).length;
    return count === 0 ? [] : [`${count} ${what}`];
  });
  const found = isBroken ? 'not all of it holds' : 'nothing is broken';
  return counted.length === 0 ? found : `${found}; streams: ${counted.join('; ')}`;
}

/** Verifies a stream, a second time where the export breaks off: retention may have dropped records of it meanwhile. */
async function outcomeOf(
  check: StoreCheck,
  row: StreamRow,
): Promise<{ readonly code: number; readonly text: string }> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const report = await check.stream(row);
      return { code: exitCodes[report.verdict.kind], text: verdictLine(report) };
    } catch (error) {
      if (!(error instanceof ChaperoneError)) throw error;
      if (attempt === 2) return { code: unchecked, text: `could not be checked: ${printable(sentenceOf(error))}` };
      await delay(retryMs);
    }
  } // prettier-ignore
}

/** Checks the store's ledger against its copy, and gathers what both say. Returns the exit code. */
async function checkLedgers(
  client: CollectorClient,
  instance: Instance,
  { trust, claims, say }: { trust: GivenTrust; claims: LedgerClaims; say: Say },
): Promise<number> {
  const { keys } = trust;
  const onClaim = claims.add.bind(claims);
  const file = trust.ledgerFile ?? instance.collector.ledgerFile;
  // The copy as it is before the store is asked: the store is always ahead.
  const copy = ledgerLines(file);
  const ofCopy = await checkLedger(copy(), { keys, of: 'copy', onClaim });
  const lines = client.lines('/v1/ledger');
  const ofStore = await checkLedger(lines, { keys, of: 'ledger', copy: copy(), onClaim });
  const hasNone = ofCopy.kind === 'whole' && ofCopy.upTo === 0 && ofStore.kind === 'whole' && ofStore.upTo > 0; // prettier-ignore
  const isMissing = hasNone && (await staysEmpty(file));
  say(`copy of the ledger in ${file}: ${isMissing ? 'broken at 1: it has nothing, and the store has lines' : ledgerSentence(ofCopy)}`); // prettier-ignore
  say(`ledger of the store: ${ledgerSentence(ofStore)}`);
  return ofCopy.kind === 'whole' && ofStore.kind === 'whole' && !isMissing ? 0 : exitCodes.broken;
}

/** Lines reach the copy a moment after the store: of a ledger that has just begun it may not have any yet. */
async function staysEmpty(file: string): Promise<boolean> {
  for (const end = Date.now() + 3_000; Date.now() < end; await delay(100)) {
    for await (const _ of ledgerLines(file)()) return false;
  }
  return true;
}

function ledgerSentence(verdict: LedgerVerdict): string {
  return verdict.kind === 'whole'
    ? `whole, ${verdict.upTo} lines`
    : `broken at ${verdict.at}: ${verdict.why}`;
}

/** Verifies streams, and what the store says of each. */
class StoreCheck {
  readonly #client: CollectorClient;
  readonly #trust: Trust;

  constructor(client: CollectorClient, trust: Trust) {
    this.#client = client;
    this.#trust = trust;
  }

  async stream(row: StreamRow): Promise<Report> {
    const { stream } = row;
    const report = await verifyExport(this.#client.bytes(`/v1/streams/${stream}/export`), this.#trust); // prettier-ignore
    if (report.verdict.kind === 'broken') return report;
    const now = await this.#client.json<StreamRow>(`/v1/streams/${stream}`);
    const wrong = whyHeadIsWrong(report, row, now);
    if (wrong) return { ...report, verdict: wrong };
    return this.#isDropped(report) ? { ...report, verdict: { kind: 'complete' } } : report;
  }

  /** Whether retention dropped all of a stream, as the ledger says. */
  #isDropped({ manifest, records, last }: Report): boolean {
    const claims = manifest && this.#trust.ledger?.of(manifest.stream);
    return records === 0 && last.seq > 0 && claims !== undefined && claims.cuts.has(last.seq) && last.seq >= claims.lastSeq; // prettier-ignore
  }
}

/** Compares the head that the store keeps of a stream, before and after the export, with where its records lead. */
function whyHeadIsWrong(
  { last }: Report,
  before: StreamRow,
  after: StreamRow,
): Verdict | undefined {
  const broken = (at: number, why: string): Verdict => ({ kind: 'broken', at, why });
  if (before.ackedSeq > last.seq)
    return broken(last.seq + 1, `the store says that it has records up to ${before.ackedSeq}`);
  if (after.ackedSeq < last.seq)
    return broken(after.ackedSeq + 1, `the store says that it has no records from here on`);
  const same = after.ackedSeq !== last.seq || after.headLink === null || after.headLink === last.link; // prettier-ignore
  return same ? undefined : broken(last.seq, 'the store has another link for it');
}

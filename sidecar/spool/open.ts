import { readFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import type { Logger } from 'pino';
import type { StreamHead } from '#core/record/kinds.ts';
import type { Certificates, SidecarConfig } from '../config.ts';
import type { Metrics } from '../metrics.ts';
import { lockDirectory } from '../../runtime/directory-lock.ts';
import { version } from '../../runtime/version.ts';
import { Background } from './background.ts';
import type { TokenSource } from './collector.ts';
import { createClock, type Moment } from './clock.ts';
import { Committed } from './committed.ts';
import { limitsOf } from './limits.ts';
import type { Trouble } from './messages.ts';
import { createSpoolDirectory, recoverSpool, type Recovered } from './recover.ts';
import { Stall } from './stall.ts';
import { SpoolWriter } from './writer.ts';

export interface OpenSpoolOptions {
  readonly config: SidecarConfig;
  /** Bearer token for the collector. */
  readonly token: TokenSource;
  /** How long an operation waits for its record, in milliseconds; read at each wait. */
  readonly waitMs: () => number;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The spool with all that works on it. */
export interface Spool {
  readonly writer: SpoolWriter;
  readonly committed: Committed;
  /** Why it cannot be written now. */
  readonly trouble: Error | undefined;
  /** For how long records wait that were to be shipped; 0 while they are taken. */
  readonly stalledSeconds: number;
  /** Rejects when records are not signed and shipped any more. */
  readonly failed: Promise<never>;
  /** Knows the collector by the certificates of another CA, PEM, from now on. */
  trust(ca: string): void;
  /** Ends the stream and ships what is left, for at most so long. */
  close(shipMs: number): Promise<void>;
}

/** Recovers what an earlier process left, and begins this process's stream behind it. */
export async function openSpool(options: OpenSpoolOptions): Promise<Spool> {
  const { config, waitMs, metrics, log } = options;
  const { spoolDirectory: directory, collectorPublicKeyFile } = config;
  const stall = watchForStall(log);
  const background: Background = new Background({
    onCommitted: (records, seq, aside) => {
      stall.shipped();
      metrics.recordsShipped.inc(records);
      if (seq === undefined) return;
      if (aside) committed.setAside();
      committed.reached(seq);
    },
    onDeleted: (bytes) => writer.forget(bytes),
    onTrouble: (problem) => {
      tell(problem, options);
      if (problem.kind !== 'quarantined') {
        stall.failed();
        committed.troubled();
      } else if (problem.stream === writer.stream) recordQuarantined(writer, problem);
    },
  });
  const lock = await claim(directory);
  const now = createClock(Date.now, () => performance.now());
  const recovered = await recover(directory, now, log);
  const { stream, leftovers, shipped } = recovered;
  let trouble: Error | undefined;
  const writer: SpoolWriter = new SpoolWriter({
    directory,
    stream,
    now,
    ...limitsOf(directory, config.spoolMaxBytes),
    waitMs,
    onWritten: (records, bytes, lastSeq) => {
      metrics.totals.records += records;
      metrics.totals.bytes += bytes;
      background.written(lastSeq);
    },
    onSegmentClosed: (lastSeq) => background.closed(lastSeq),
    onTrouble: (error) => {
      trouble = error;
      if (error) log.error({ err: error }, 'the spool cannot be written');
      else log.info('the spool can be written again');
    },
  });
  writer.adopt(recovered.bytes);
  const committed = new Committed({ waitMs, onWaiting: (waiting) => background.hurry(waiting) });
  const publicKey = background.start({
    directory,
    stream,
    leftovers,
    shipped,
    collector: {
      url: config.collectorUrl.href,
      addresses: config.collectorAddresses,
      ca: await readCertificates(config.collectorCa),
      token: options.token,
    },
    collectorKey:
      collectorPublicKeyFile === '' ? undefined : await readFile(collectorPublicKeyFile, 'utf8'),
  });
  recordStart(writer, config, { publicKey, previous: previousOf(recovered, writer, background) });
  writer.startCheckpoints();
  return {
    writer,
    committed,
    get trouble() {
      return trouble;
    },
    get stalledSeconds() {
      return stall.seconds;
    },
    failed: background.failed,
    trust: (ca) => background.trust(ca),
    close: async (shipMs) => {
      committed.close();
      writer.append({
        ending: true,
        seal: () => ({ fields: { kind: 'stream.end', reason: 'stopped' } }),
      });
      if (!writer.close()) log.error('records were lost: the spool could not be written');
      const left = await background.stop(shipMs);
      lock.close();
      if (left.length === 0) log.info('stopped; the spool is shipped');
      else log.warn({ streams: left }, 'stopped; part of the spool is kept for the next start');
    },
  };
}

function watchForStall(log: Logger): Stall {
  return new Stall({
    nowMs: () => performance.now(),
    onChange: (state) => {
      if (state === 'over') log.info('records are shipped again');
      else log.error('records have not been shipped for long: they are in this pod alone');
    },
  });
}

async function recover(directory: string, now: () => Moment, log: Logger): Promise<Recovered> {
  const recovered = await recoverSpool({
    directory,
    now,
    nowMs: Date.now,
    onDamage: (damage) =>
      log.error(damage, 'a segment of the spool is damaged; a copy of it is kept beside it'),
    onUnended: (stream, err) =>
      log.error(
        { stream, err },
        'the stream of an earlier process cannot be ended yet, so nothing is recorded',
      ),
  });
  const streams = recovered.leftovers.length;
  if (streams > 0) log.info({ streams }, 'shipping what an earlier process left');
  return recovered;
}

/** Says which stream came before, once that is ended: until then it throws, so that nothing can be recorded. */
function previousOf(
  { previous, endPrevious }: Recovered,
  writer: SpoolWriter,
  background: Background,
): () => StreamHead | undefined {
  let ended = endPrevious === undefined;
  let head = previous;
  return () => {
    if (ended || !endPrevious) return head;
    const late = endPrevious();
    ended = true;
    ({ head } = late);
    writer.adopt(late.leftover.ends.reduce((sum, { bytes }) => sum + bytes, 0));
    background.add(late.leftover);
    return head;
  };
}

/** Makes the spool's folder this process's own: two that write to one would take each other's streams for left over. */
function claim(directory: string): Promise<Server> {
  createSpoolDirectory(directory);
  const taken = `another sidecar writes to ${directory}: give each a spool of its own`;
  return lockDirectory(directory, taken);
}

function recordStart(
  writer: SpoolWriter,
  { workload }: SidecarConfig,
  { publicKey, previous }: { publicKey: string; previous: () => StreamHead | undefined },
): void {
  writer.begin({
    ending: true,
    seal: () => ({
      fields: {
        kind: 'stream.start',
        'service.version': version,
        'k8s.pod.name': workload.pod,
        'k8s.namespace.name': workload.namespace,
        'service.account': workload.serviceAccount,
        publicKey,
        previous: previous(),
      },
    }),
  });
}

function recordQuarantined(
  writer: SpoolWriter,
  { from, to }: Extract<Trouble, { kind: 'quarantined' }>,
): void {
  writer.append({
    ending: true,
    seal: () => ({ fields: { kind: 'gap', from, to, reason: 'quarantined' } }),
  });
}

/** By the HTTP status of what was answered; 0 where nothing was. */
const reasons: Readonly<Record<number, string>> = {
  0: 'the collector cannot be reached',
  401: 'the collector does not know our token',
  404: 'what answers is no collector',
  503: 'the collector is busy, or its store is away',
};

function tell(trouble: Trouble, { metrics, log }: OpenSpoolOptions): void {
  const { kind, ...details } = trouble;
  switch (kind) {
    case 'unavailable':
      metrics.shipFailures.inc();
      // What it calls our mistake is nothing that time alone mends.
      if (trouble.status === 400 || trouble.status === 415)
        log.error(details, 'the collector does not understand a batch');
      else log.warn(details, reasons[trouble.status] ?? 'the collector cannot take a batch now');
      break;
    case 'behind':
      metrics.shipFailures.inc();
      log.warn(details, 'the collector has less than it has acknowledged');
      break;
    case 'refused':
      metrics.shipFailures.inc();
      log.error(details, 'the collector refuses a batch');
      break;
    case 'not-acknowledged':
      metrics.acknowledgementsRejected.inc();
      log.error(details, 'an acknowledgement cannot be believed; nothing is deleted');
      break;
    case 'quarantined':
      metrics.batchesQuarantined.inc();
      log.error(details, 'the collector could not verify records, and has set them aside');
      break;
    case 'spool':
      log.error(details, 'the spool cannot be read, or a checkpoint not be signed');
      break;
  }
}

async function readCertificates(certificates: Certificates): Promise<string> {
  return 'pem' in certificates ? certificates.pem : readFile(certificates.file, 'utf8');
}

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { findingKinds } from './store/findings.ts';

/** Every metric of the collector. Labels are closed sets. */
export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics(databaseUp: () => boolean) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'chaperone_collector_database_up',
    help: '1 while the database answers, else 0',
    registers,
    collect() {
      this.set(Number(databaseUp()));
    },
  });
  return {
    registry,
    batches: new Counter({
      name: 'chaperone_collector_batches_total',
      help: 'Batches of records, by HTTP status of the answer',
      labelNames: ['status'] as const,
      registers,
    }),
    records: new Counter({
      name: 'chaperone_collector_records_total',
      help: 'Records committed',
      registers,
    }),
    bytes: new Counter({
      name: 'chaperone_collector_bytes_total',
      help: 'Bytes of committed records, before compression',
      registers,
    }),
    commitSeconds: new Histogram({
      name: 'chaperone_collector_commit_seconds',
      help: 'Time from a batch that was read to its commit: it is verified and stored in between',
      buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    quarantineRefused: new Counter({
      name: 'chaperone_collector_quarantine_refused_total',
      help: 'Batches that did not verify and were refused, since too many of their pod were set aside within an hour',
      registers,
    }),
    findings: findingsCounter(registers),
    ledgerFileChanged: new Gauge({
      name: 'chaperone_collector_ledger_file_changed',
      help: '1 once the outside copy of the ledger was found to differ from the store, from when on it does not grow',
      registers,
    }),
    reads: new Counter({
      name: 'chaperone_collector_reads_total',
      help: 'Reads, by HTTP status of the answer',
      labelNames: ['status'] as const,
      registers,
    }),
  };
}

/** From the start on there is one of each kind, so that an alert on a rise sees the first. */
function findingsCounter(registers: Registry[]) {
  const counter = new Counter({
    name: 'chaperone_collector_findings_total',
    help: 'Findings, by kind',
    labelNames: ['kind'] as const,
    registers,
  });
  for (const kind of findingKinds) counter.inc({ kind }, 0);
  return counter;
}

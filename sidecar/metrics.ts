import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

/** Every metric of the sidecar. Labels are closed sets; none holds anything that an agent or a backend chose. */
export type Metrics = ReturnType<typeof createMetrics>;

/** What the gauges read at each scrape. */
export interface Gauges {
  readonly sessions: () => number;
  readonly pendingLogins: () => number;
  readonly spoolBytes: () => number;
  readonly spoolWritable: () => boolean;
  readonly shipStalledSeconds: () => number;
  /** By the rules of the pod. */
  readonly packetsRefused: () => number;
}

export function createMetrics(gauges: Gauges) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  registerGauges(registry, gauges);
  // These change with every operation, so they are plain numbers until somebody asks.
  const totals = { allowed: 0, denied: 0, records: 0, bytes: 0 };
  new Counter({
    name: 'chaperone_operations_total',
    help: 'Operations decided, by verdict',
    labelNames: ['verdict'] as const,
    registers,
    collect() {
      this.reset();
      this.inc({ verdict: 'Allow' }, totals.allowed);
      this.inc({ verdict: 'Deny' }, totals.denied);
    },
  });
  const total = totalIn(registry);
  total('chaperone_records_written_total', 'Records written to the spool', () => totals.records);
  total(
    'chaperone_packets_refused_total',
    'Packets that the rules of the pod refused: neither TCP nor DNS',
    gauges.packetsRefused,
  );
  total('chaperone_spool_written_bytes_total', 'Bytes written to the spool', () => totals.bytes);
  return {
    registry,
    connections: new Counter({
      name: 'chaperone_connections_total',
      help: 'Connections accepted, by protocol and by what became of them',
      labelNames: ['protocol', 'outcome'] as const,
      registers,
    }),
    logins: new Counter({
      name: 'chaperone_logins_total',
      help: 'Logins of agents, by outcome',
      labelNames: ['outcome'] as const,
      registers,
    }),
    totals,
    recordsShipped: new Counter({
      name: 'chaperone_records_shipped_total',
      help: 'Records committed by the collector',
      registers,
    }),
    shipFailures: new Counter({
      name: 'chaperone_ship_failures_total',
      help: 'Batches that the collector did not commit at the first try',
      registers,
    }),
    batchesQuarantined: new Counter({
      name: 'chaperone_batches_quarantined_total',
      help: 'Batches that the collector could not verify and has set aside',
      registers,
    }),
    acknowledgementsRejected: new Counter({
      name: 'chaperone_acknowledgements_rejected_total',
      help: 'Acknowledgements that are not signed by the collector, or not about what was sent',
      registers,
    }),
    bundles: new Counter({
      name: 'chaperone_bundles_total',
      help: 'Policy bundles, by outcome',
      labelNames: ['outcome'] as const,
      registers,
    }),
  };
}

function registerGauges(registry: Registry, gauges: Gauges): void {
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge('chaperone_sessions', 'Sessions that are open', gauges.sessions);
  gauge('chaperone_pending_logins', 'Connections that have not logged in', gauges.pendingLogins);
  gauge(
    'chaperone_spool_bytes',
    'Bytes in the spool, not yet committed by the collector',
    gauges.spoolBytes,
  );
  gauge('chaperone_spool_writable', '1 while records can be written, else 0', () =>
    Number(gauges.spoolWritable()),
  );
  gauge(
    'chaperone_ship_stalled_seconds',
    'Seconds for which records wait that the collector does not take, 0 while it does',
    gauges.shipStalledSeconds,
  );
}

/** Makes counters that are read where they are kept. */
function totalIn(registry: Registry) {
  return (name: string, help: string, read: () => number): Counter =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
}

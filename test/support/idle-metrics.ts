import { createMetrics, type Metrics } from '../../sidecar/metrics.ts';

/** Metrics of a sidecar in which nothing goes on. */
export function idleMetrics(): Metrics {
  const none = (): number => 0;
  return createMetrics({
    sessions: none,
    pendingLogins: none,
    spoolBytes: none,
    spoolWritable: () => true,
    shipStalledSeconds: none,
    packetsRefused: none,
  });
}

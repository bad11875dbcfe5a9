import { Counter, Gauge, Registry } from 'prom-client';

/** What the controller counts; no label holds a name that an agent's author chooses. */
export interface Metrics {
  readonly registry: Registry;
  /** `sent`, or `held` where what applies to a pod does not hold together. */
  readonly bundles: Counter<'outcome'>;
  /** What sidecars say of bundles: `accepted` or `refused`. */
  readonly acks: Counter<'outcome'>;
  /** Requests that were not let in, by why. */
  readonly refused: Counter<'reason'>;
}

/** What is measured when somebody looks. */
export interface Measured {
  readonly streams: () => number;
  readonly pods: () => number;
  /** Milliseconds since 1970. */
  readonly certificateExpiresMs: () => number;
  readonly leading: () => boolean;
}

export function createMetrics({ streams, pods, certificateExpiresMs, leading }: Measured): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    void new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('chaperone_controller_streams', 'Sidecars that follow this replica.', streams);
  gauge('chaperone_controller_pods', 'Pods with a sidecar that this replica knows.', pods);
  gauge('chaperone_controller_leader', '1 on the replica that leads.', () => Number(leading()));
  gauge(
    'chaperone_controller_certificate_expiry_seconds',
    'When the certificate of this server expires, in seconds since 1970.',
    () => certificateExpiresMs() / 1000,
  );
  return {
    registry,
    bundles: new Counter({
      name: 'chaperone_controller_bundles_total',
      help: 'Bundles for sidecars, by what became of them.',
      labelNames: ['outcome'],
      registers,
    }),
    acks: new Counter({
      name: 'chaperone_controller_acknowledgements_total',
      help: 'What sidecars said of bundles.',
      labelNames: ['outcome'],
      registers,
    }),
    refused: new Counter({
      name: 'chaperone_controller_refused_total',
      help: 'Requests that were not let in.',
      labelNames: ['reason'],
      registers,
    }),
  };
}

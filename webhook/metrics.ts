import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { refusalReasons } from './refusals.ts';

/** Every metric of the webhook. Labels are closed sets. */
export type Metrics = ReturnType<typeof createMetrics>;

const questions = ['pods', 'resources'] as const;

/** What the API server asks about: pods that are created, and our own resources. */
export type Question = (typeof questions)[number];

export function createMetrics(certificateExpiresMs: () => number) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'chaperone_webhook_cert_expiry_seconds',
    help: 'When the certificate that is served expires, in seconds since 1970',
    registers,
    collect() {
      this.set(certificateExpiresMs() / 1000);
    },
  });
  const refused = new Counter({
    name: 'chaperone_webhook_refused_total',
    help: 'Objects that were refused, by reason: one with several counts once under each',
    labelNames: ['reason'] as const,
    registers,
  });
  for (const reason of refusalReasons) refused.inc({ reason }, 0);
  return {
    registry,
    requests: new Counter({
      name: 'chaperone_webhook_requests_total',
      help: 'Questions of the API server, by what they were about and what became of them',
      labelNames: ['about', 'outcome'] as const,
      registers,
    }),
    injected: new Counter({
      name: 'chaperone_webhook_injected_total',
      help: 'Pods that were injected, by how connections reach the sidecar',
      labelNames: ['mode'] as const,
      registers,
    }),
    refused,
    seconds: new Histogram({
      name: 'chaperone_webhook_seconds',
      help: 'Time to an answer, with what is asked of the API server meanwhile',
      labelNames: ['about'] as const,
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    events: new Counter({
      name: 'chaperone_webhook_events_total',
      help: 'Events for owners of pods, by what became of them',
      labelNames: ['outcome'] as const,
      registers,
    }),
  };
}

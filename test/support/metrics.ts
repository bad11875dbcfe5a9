import type { TestInstance } from './instance.ts';
import { until } from './until.ts';

/** What the sidecar's metrics say now, as they are scraped. */
export async function metricsOf({ instance }: TestInstance): Promise<string> {
  return (await fetch(instance.sidecar.metricsUrl)).text();
}

/** One of the sidecar's metrics: the sum of all that have the name and, where one is given, the label. */
export async function metricOf(instance: TestInstance, name: string, label = ''): Promise<number> {
  const text = await metricsOf(instance);
  if (!text.includes(`# TYPE ${name} `)) throw new Error(`there is no metric ${name}`);
  const values = text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .filter((line) => line.includes(label))
    .map((line) => Number(line.slice(line.lastIndexOf(' '))));
  return values.reduce((sum, value) => sum + value, 0);
}

async function isUnused(instance: TestInstance): Promise<boolean> {
  const counts = ['chaperone_sessions', 'chaperone_pending_logins'].map((name) =>
    metricOf(instance, name),
  );
  return (await Promise.all(counts)).every((count) => count === 0);
}

/** Waits until nobody is connected to the sidecar and the collector has nearly all that was spooled. */
export async function untilIdle(instance: TestInstance): Promise<void> {
  await until(
    'the sessions are over, and shipped',
    async () =>
      (await isUnused(instance)) &&
      (await metricOf(instance, 'chaperone_spool_bytes')) < 10_000_000,
  );
}

/** Waits until nobody is connected to the sidecar and the collector has every record. */
export async function untilStored(instance: TestInstance, timeoutMs = 120_000): Promise<void> {
  await until(
    'every session has ended and is stored',
    async () => {
      if (!(await isUnused(instance))) return false;
      const shipped = await metricOf(instance, 'chaperone_records_shipped_total');
      return shipped >= (await metricOf(instance, 'chaperone_records_written_total'));
    },
    timeoutMs,
  );
}

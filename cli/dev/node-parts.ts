import { ChaperoneError } from '#core/errors.ts';
import type {
  CollectorReport,
  CollectorSecrets,
  SidecarReport,
  SidecarSecrets,
} from '#core/control.ts';
import { printable } from '../terminal.ts';
import { startNodeChild, type NodeChild } from './child.ts';
import type { Running } from './part.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface RunningCollector extends Running {
  readonly url: string;
  readonly metricsUrl: string;
}

export interface RunningSidecar extends Running {
  readonly metricsUrl: string;
  readonly backends: ReadonlyMap<string, Address>;
}

const startTimeoutMs = 20_000;

/** Starts the collector and waits until it takes requests. */
export async function startCollector(options: {
  /** What Node runs. */
  readonly program: string;
  readonly secrets: CollectorSecrets;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
}): Promise<RunningCollector> {
  const ready = Promise.withResolvers<Extract<CollectorReport, { type: 'ready' }>>();
  const child = startNodeChild<CollectorReport>({
    ...options,
    name: 'collector',
    args: [options.program],
    onReport: (report) => {
      if (report.type === 'ready') ready.resolve(report);
      else
        ready.reject(
          new ChaperoneError('config-invalid', `the collector: ${explain(report.message)}`),
        );
    },
  });
  const { url, metricsUrl } = await started(child, ready.promise, {
    name: 'collector',
    logFile: options.logFile,
  });
  return { ...child, url, metricsUrl };
}

/** Starts the sidecar and waits until agents can connect. */
export async function startSidecar(options: {
  /** What Node runs. */
  readonly program: string;
  readonly secrets: SidecarSecrets;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly say: (line: string) => void;
  /** Filled with the listeners' addresses, again whenever they change. */
  readonly backends: Map<string, Address>;
  readonly onListening: () => void;
}): Promise<RunningSidecar> {
  const { backends, say, onListening } = options;
  const ready = Promise.withResolvers<Extract<SidecarReport, { type: 'ready' }>>();
  let accepted = 0;
  const child = startNodeChild<SidecarReport>({
    ...options,
    name: 'sidecar',
    args: [options.program],
    onReport: (report) => {
      switch (report.type) {
        case 'ready':
          ready.resolve(report);
          break;
        case 'listening':
          backends.clear();
          for (const [name, address] of Object.entries(report.backends))
            backends.set(name, address);
          onListening();
          break;
        case 'bundle-accepted':
          accepted += 1;
          if (accepted > 1) say(`policies changed: revision ${report.revision} is in force`);
          break;
        case 'bundle-refused':
          for (const { file, line, path, message } of report.problems) {
            say(`${file}:${line}: ${path === '' ? '' : `${path}: `}${printable(message)}`);
          }
          say(
            accepted > 0
              ? 'the earlier policies stay in force'
              : 'no policies are in force until this is mended',
          );
          if (accepted === 0) {
            const [first] = report.problems;
            const where = first
              ? `${first.file}:${first.line}: ${first.path}: ${first.message}`
              : '';
            ready.reject(
              new ChaperoneError('config-invalid', `the resources cannot be used: ${where}`),
            );
          }
          break;
        case 'failed':
          say(`the sidecar: ${explain(report.message)}`);
          ready.reject(
            new ChaperoneError('config-invalid', `the sidecar: ${explain(report.message)}`),
          );
          break;
      }
    },
  });
  const { metricsUrl } = await started(child, ready.promise, {
    name: 'sidecar',
    logFile: options.logFile,
  });
  return { ...child, metricsUrl, backends };
}

async function started<T>(
  child: NodeChild,
  ready: Promise<T>,
  { name, logFile }: { readonly name: string; readonly logFile: string },
): Promise<T> {
  const failed = Promise.withResolvers<never>();
  const fail = (why: string): void => {
    failed.reject(new ChaperoneError('config-invalid', `the ${name} ${why}: ${logFile} says why`));
  };
  const timer = setTimeout(() => fail('does not become ready'), startTimeoutMs);
  void child.exited.then(() => fail('ends at its start'));
  failed.promise.catch(() => undefined); // a later end is noticed by its supervisor
  try {
    return await Promise.race([ready, failed.promise]);
  } catch (error) {
    await child.stop(0);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function explain(message: string): string {
  const port = /EADDRINUSE.*?:(\d+)$/.exec(message)?.[1];
  if (port !== undefined)
    return `port ${port} is in use: stop what uses it, or choose another with --port`;
  return printable(message);
}

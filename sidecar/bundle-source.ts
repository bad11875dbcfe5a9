import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { SidecarReport } from '#core/control.ts';
import type { Bundle, ProviderKeys } from '#core/policy/resolve.ts';
import { keepAnnounced, type Authorities } from './announced-authorities.ts';
import { BundleDirectory } from './bundle-directory.ts';
import { BundleStream } from './bundle-stream.ts';
import type { SidecarConfig } from './config.ts';
import type { Credentials } from './credentials.ts';
import type { Host } from './host.ts';
import type { Metrics } from './metrics.ts';
import type { Spool } from './spool/open.ts';
import type { Surroundings } from './surroundings.ts';

/** How long a bundle holds without the controller: a weekend's outage stops no agent at once, a pod cut off does end. */
const holdMs = 24 * 3_600_000;

export interface BundleSourceOptions {
  readonly config: SidecarConfig;
  readonly host: Pick<Host, 'apply' | 'kill' | 'lapse'>;
  readonly credentials: Credentials;
  /** In a pod. */
  readonly surroundings: Pick<Surroundings, 'surroundedBy'> | undefined;
  readonly spool: Pick<Spool, 'trust'>;
  /** A bundle is in force. */
  readonly onApplied: (bundle: Bundle) => void;
  readonly report: (report: SidecarReport) => void;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Where bundles come from, as whoever asks for an issuer's keys sees it. */
export interface BundleSource {
  /** Has a provider's keys fetched anew, at most once a minute. Returns all providers, or undefined when it was too soon. */
  refreshKeys(provider: string): Promise<readonly ProviderKeys[] | undefined>;
}

/** Follows what the configuration names, and puts in force what comes. */
export function followBundles(options: BundleSourceOptions): BundleSource {
  const { source } = options.config;
  return source.kind === 'directory'
    ? watchDirectory(source.directory, options)
    : followController(source, options);
}

function watchDirectory(directory: string, options: BundleSourceOptions): BundleSource {
  const { config, host, credentials, onApplied, report, metrics, log, signal } = options;
  return new BundleDirectory({
    directory,
    workload: config.workload,
    connectTo: config.connectTo,
    credentials: credentials.types,
    signal,
    onBundle: (bundle) => {
      metrics.bundles.inc({ outcome: 'accepted' });
      host.apply(bundle);
      onApplied(bundle);
    },
    onKeysFailed: (provider, err) =>
      log.warn({ provider, err }, "an issuer's keys cannot be fetched"),
    onRefused: (problems) => {
      metrics.bundles.inc({ outcome: 'refused' });
      report({ type: 'bundle-refused', problems });
    },
  });
}

function followController(
  { url, addresses, ca, tokenFile }: Extract<SidecarConfig['source'], { kind: 'controller' }>,
  options: BundleSourceOptions,
): BundleSource {
  const { config, host, credentials, surroundings, spool, onApplied, metrics, log, signal } = options; // prettier-ignore
  let announced: Authorities = { controller: '', collector: '' };
  let lapsing: NodeJS.Timeout | undefined;
  return new BundleStream({
    url,
    addresses,
    ca,
    tokenFile,
    signal,
    onBundle: (bundle, { credentials: given, network, authorities, attachment, revision }) => {
      clearTimeout(lapsing);
      lapsing = undefined;
      surroundings?.surroundedBy(network);
      credentials.replace(given); // before the bundle that names them
      if (authorities.collector !== announced.collector) spool.trust(authorities.collector);
      if (!isDeepStrictEqual(authorities, announced)) tryKeep(config, authorities, log);
      announced = authorities;
      metrics.bundles.inc({ outcome: 'accepted' });
      host.apply(bundle, attachment);
      log.info({ revision, attachment }, 'a bundle is in force');
      onApplied(bundle);
    },
    onRefused: (problems) => {
      metrics.bundles.inc({ outcome: 'refused' });
      log.error({ problems }, 'a bundle was refused: the one before stays in force');
    },
    onKill: (session) => void host.kill(session),
    onLost: (reason) => {
      log.warn({ reason }, 'the controller is not followed now');
      lapsing ??= setTimeout(() => {
        log.error('the last bundle is out of force, since the controller was away for too long');
        host.lapse();
      }, holdMs).unref();
    },
  });
}

function tryKeep({ spoolDirectory }: SidecarConfig, announced: Authorities, log: Logger): void {
  try {
    keepAnnounced(spoolDirectory, announced);
  } catch (err) {
    log.warn({ err }, 'the authorities cannot be kept for the next start'); // this process goes by them all the same
  }
}

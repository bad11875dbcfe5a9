import type { KeyObject } from 'node:crypto';
import type { Server } from 'node:https';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { CollectorSecrets, ServerKeyPair } from '#core/control.ts';
import { TlsFiles } from '../runtime/tls-files.ts';
import { watchFiles } from '../runtime/watched-files.ts';
import type { CollectorConfig, PodFiles } from './config.ts';
import type { Identities } from './identity/identities.ts';
import { createSupervisedIdentities } from './identity/supervised.ts';
import { loadCollectorKey } from './key.ts';
import { loginFromFile, type StoreLogin } from './store/login.ts';

/** What it is told where no supervisor starts it: to look into files. */
export interface PodSecrets {
  readonly type: 'secrets';
  readonly pod: PodFiles;
}

/** What differs between one machine and a cluster. */
export interface Surroundings {
  readonly tls: ServerKeyPair;
  readonly login: StoreLogin;
  readonly identities: Identities;
  readonly key: KeyObject;
  /** Puts new certificates in force as they come, until what it returns is called. */
  readonly renew: (server: FastifyInstance<Server>) => () => void;
}

/** @throws ChaperoneError `config-invalid`. */
export async function findSurroundings(
  config: CollectorConfig,
  secrets: CollectorSecrets | PodSecrets,
  log: Logger,
): Promise<Surroundings> {
  if (!('pod' in secrets)) {
    return {
      tls: secrets.tls,
      login: () => secrets.store,
      identities: createSupervisedIdentities(secrets),
      key: loadCollectorKey(config.keyFile),
      renew: () => () => undefined,
    };
  }
  const { certFile, keyFile, databaseUrlFile } = secrets.pod;
  // Only here: the client takes longer to load than all the rest, and as much memory.
  const { createKubernetesIdentities } = await import('./identity/kubernetes.ts');
  const files = new TlsFiles(certFile, keyFile);
  return {
    tls: files.pair,
    login: loginFromFile(databaseUrlFile),
    identities: createKubernetesIdentities(log),
    key: loadCollectorKey(config.keyFile, 'given'),
    renew: ({ server }) => {
      const use = (): void => server.setSecureContext(files.pair);
      return watchFiles([{ name: 'certificate', reload: () => files.reload(), use }], log);
    },
  };
}

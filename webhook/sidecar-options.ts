import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { ChaperoneError } from '#core/errors.ts';
import { trustVariables } from './agent-container.ts';
import type { WebhookConfig } from './config.ts';
import type { InjectOptions } from './inject.ts';
import { paths } from './names.ts';
import type { ServerAddresses } from './own-service.ts';

/** PEM of those of our two servers that are in force now. */
interface Authorities {
  readonly controller: string;
  readonly collector: string;
}

/** What injected containers are made of, with the certificate authorities that are in force now. */
export class SidecarOptions {
  readonly #config: WebhookConfig;
  #authorities: Authorities;

  /** @throws ChaperoneError `config-invalid` where a file of certificates cannot be read. */
  constructor(config: WebhookConfig) {
    this.#config = config;
    try {
      this.#authorities = readBoth(config);
    } catch (cause) {
      const message = `${config.controllerCaFile} or ${config.collectorCaFile} holds no certificates`;
      throw new ChaperoneError('config-invalid', message, { cause });
    }
  }

  /** All of it, for servers that are at these addresses now. */
  withAddresses(addresses: ServerAddresses): InjectOptions {
    const { image, imagePullPolicy, sidecarResources, initResources, spoolMaxBytes } = this.#config;
    const { controllerUrl, collectorUrl, sidecarLogLevel, allowedCapabilities } = this.#config;
    const { controller, collector } = this.#authorities;
    return {
      image,
      imagePullPolicy,
      sidecarResources,
      initResources,
      spoolMaxBytes,
      controller: { url: controllerUrl.href, addresses: addresses.controller, ca: controller },
      collector: { url: collectorUrl.href, addresses: addresses.collector, ca: collector },
      logLevel: sidecarLogLevel,
      allowedCapabilities,
      trustVariables: trustVariables(paths.trust),
    };
  }

  /** Reads the authorities again, and goes on with the old ones where that cannot be done. */
  reload(): 'changed' | 'same' | 'unusable' {
    try {
      const read = readBoth(this.#config);
      if (isDeepStrictEqual(read, this.#authorities)) return 'same';
      this.#authorities = read;
      return 'changed';
    } catch {
      return 'unusable'; // the caller says so
    }
  }
}

function readBoth({ controllerCaFile, collectorCaFile }: WebhookConfig): Authorities {
  return {
    controller: readAuthorities(controllerCaFile),
    collector: readAuthorities(collectorCaFile),
  };
}

/** The first has to be a certificate; what follows it may be more of them. */
function readAuthorities(file: string): string {
  const text = readFileSync(file, 'utf8');
  void new X509Certificate(text); // throws
  return text.trim();
}

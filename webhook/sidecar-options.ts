import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { ChaperoneError } from '#core/errors.ts';
import { trustVariables } from './agent-container.ts';
import type { WebhookConfig } from './config.ts';
import type { InjectOptions } from './inject.ts';
import { paths } from './names.ts';

/** What injected containers are made of, with the certificate authorities that are in force now. */
export class SidecarOptions {
  readonly #config: WebhookConfig;
  #current: InjectOptions;

  /** @throws ChaperoneError `config-invalid` where a file of certificates cannot be read. */
  constructor(config: WebhookConfig) {
    this.#config = config;
    try {
      this.#current = build(config);
    } catch (cause) {
      const message = `${config.controllerCaFile} or ${config.collectorCaFile} holds no certificates`;
      throw new ChaperoneError('config-invalid', message, { cause });
    }
  }

  get current(): InjectOptions {
    return this.#current;
  }

  /** Reads the authorities again, and goes on with the old ones where that cannot be done. */
  reload(): 'changed' | 'same' | 'unusable' {
    try {
      const read = build(this.#config);
      if (isDeepStrictEqual(read, this.#current)) return 'same';
      this.#current = read;
      return 'changed';
    } catch {
      return 'unusable'; // the caller says so
    }
  }
}

function build(config: WebhookConfig): InjectOptions {
  const { image, imagePullPolicy, sidecarResources, initResources, spoolMaxBytes } = config;
  return {
    image,
    imagePullPolicy,
    sidecarResources,
    initResources,
    spoolMaxBytes,
    controller: { url: config.controllerUrl.href, ca: readAuthorities(config.controllerCaFile) },
    collector: { url: config.collectorUrl.href, ca: readAuthorities(config.collectorCaFile) },
    logLevel: config.sidecarLogLevel,
    allowedCapabilities: config.allowedCapabilities,
    trustVariables: trustVariables(paths.trust),
  };
}

/** The first has to be a certificate; what follows it may be more of them. */
function readAuthorities(file: string): string {
  const text = readFileSync(file, 'utf8');
  void new X509Certificate(text); // throws
  return text.trim();
}

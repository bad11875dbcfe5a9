import { mkdirSync, readFileSync } from 'node:fs';
import {
  createSecrets,
  supervise,
  type InstanceSecrets,
  type SuperviseOptions,
} from '../../cli/dev/supervisor.ts';

/** `chaperone dev` with secrets that a test knows: they come over standard input, as nothing else is private. */
const { options, secrets } = JSON.parse(readFileSync(0, 'utf8')) as {
  options: SuperviseOptions;
  secrets: Partial<InstanceSecrets>;
};
mkdirSync(options.data, { recursive: true, mode: 0o711 });
process.exitCode = await supervise(options, { ...createSecrets(), ...secrets });

import { makeCollectorKey } from '../collector/key.ts';
import { secretCommand } from './cluster/secret-command.ts';

/** `chaperone collector-key`. */
export const collectorKey = secretCommand({
  name: 'collector-key',
  summary: 'makes the key of the collectors of a cluster',
  what: 'the key that collectors of a cluster sign evidence with',
  secret: 'chaperone-collector-key',
  content: () => ({ 'key.pem': makeCollectorKey() }),
});

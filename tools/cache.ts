import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

const given = process.env['XDG_CACHE_HOME'] ?? '';

/**
 * What takes long to make and serves every checkout of this user. It is not in the checkout, so that it outlives a
 * `git clean`.
 */
export const cacheDirectory = join(
  isAbsolute(given) ? given : join(homedir(), '.cache'), // XDG has relative ones ignored
  'chaperone',
);

import { ChaperoneError } from '#core/errors.ts';
import { namesOfPinned } from '#core/policy/pinned.ts';
import type { NameMappings } from '#core/policy/resources.ts';
import { trySettingsOfOptions } from '#core/postgres/startup-options.ts';

/** What a login at the backend is made of. */
export interface StartupOptions {
  /** What the agent asked for. */
  readonly asked: ReadonlyMap<string, string>;
  readonly names: NameMappings;
  /** The user of the login that Chaperone holds, where it holds one. */
  readonly username: string | undefined;
  /** Settings that the gateway sets, by name in lower case: no agent may choose them. */
  readonly pinned: ReadonlyMap<string, string>;
  /** In place of the agent's own, where the Backend wants it so. */
  readonly applicationName?: string | undefined;
}

/**
 * What the backend is told: the agent's own wishes, under the names that the Backend maps them to, and the settings that
 * are pinned. @throws ChaperoneError `denied` where the agent wishes one of those.
 */
export function startupParameters(options: StartupOptions): ReadonlyMap<string, string> {
  const { asked, names, username, pinned, applicationName } = options;
  assertNotPinned(asked, pinned);
  const user = asked.get('user') ?? '';
  const database = asked.get('database') ?? user; // PostgreSQL's default, which must not become another user's
  return new Map([
    ...asked,
    ...pinned,
    ...(applicationName === undefined ? [] : [['application_name', applicationName] as const]),
    ['user', names.users.get(user) ?? username ?? user],
    ['database', names.databases.get(database) ?? database],
  ]);
}

function assertNotPinned(
  asked: ReadonlyMap<string, string>,
  pinned: ReadonlyMap<string, string>,
): void {
  if (pinned.size === 0) return;
  const wished = trySettingsOfOptions(asked.get('options') ?? '');
  if (!wished)
    throw new ChaperoneError('denied', 'options may hold nothing but "-c name=value" here');
  const names = namesOfPinned(pinned.keys());
  for (const name of [...asked.keys(), ...wished]) {
    if (names.has(name.toLowerCase()))
      throw new ChaperoneError('denied', `the setting ${name.toLowerCase()} is set by the gateway`);
  }
}

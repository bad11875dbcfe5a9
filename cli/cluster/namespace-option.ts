import { UsageError } from '../command.ts';

/** Reads `--namespace` where there is no default for it. @throws UsageError. */
export function namespaceOption(text: string | undefined): string {
  if (text !== undefined && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new UsageError(`--namespace: got ${text === undefined ? 'nothing' : `"${text}"`}, want a namespace`); // prettier-ignore
}

import type { StatementDraft } from './survey-draft.ts';
import { type Fields, childOf, listOf, textOf, tryKind, tryLiteral } from './tree.ts';

/** Notes the settings that a SET or RESET changes, also one inside ALTER ROLE or CREATE FUNCTION. */
export function changeSettings(fields: Fields, draft: StatementDraft): void {
  const kind = textOf(fields, 'kind');
  const name = textOf(fields, 'name') ?? '*';
  if (kind === 'VAR_RESET_ALL') draft.setting('*');
  else if (kind === 'VAR_SET_MULTI') multipleSettings(name, fields, draft);
  else {
    const [value] = kind === 'VAR_SET_VALUE' ? listOf(fields, 'args') : [];
    draft.setting(name, { turnsReadOnlyOn: isOn(value) });
  }
}

function multipleSettings(name: string, fields: Fields, draft: StatementDraft): void {
  if (name === 'TRANSACTION SNAPSHOT') return;
  const prefix = name === 'SESSION CHARACTERISTICS' ? 'default_' : '';
  transactionModes(listOf(fields, 'args'), prefix, draft);
}

/** Notes the modes of a transaction as the settings that they are. */
export function transactionModes(
  options: readonly unknown[],
  prefix: '' | 'default_',
  draft: StatementDraft,
): void {
  for (const option of options) {
    const mode = tryKind(option, 'DefElem') ?? {};
    const name = textOf(mode, 'defname') ?? '*';
    draft.setting(prefix + name, { turnsReadOnlyOn: isOn(mode['arg']) });
  }
}

/** Whether a constant means true for certain; PostgreSQL takes more spellings than these. */
export function isOn(value: unknown): boolean {
  const constant = tryKind(value, 'A_Const');
  const integer = childOf(constant ?? {}, 'ival') ?? tryKind(value, 'Integer');
  if (integer) return integer['ival'] === 1;
  const text = tryLiteral(value);
  return text !== undefined && /^(?:on|true|yes)$/i.test(text);
}

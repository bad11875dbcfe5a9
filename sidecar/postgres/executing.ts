import type { Expectations } from './expectations.ts';
import type { Effect, Execute } from './items.ts';

/**
 * Rows that are recorded and that nobody described could not be read: then the lane asks, and keeps the reply to itself.
 */
export function execute(
  { permit, portal, cursor, name, frame }: Execute,
  expected: Expectations,
): readonly Effect[] {
  const { statement } = portal;
  const send: Effect = { kind: 'send', permit, record: permit.ref, frame };
  const known = statement.fixed && statement.layout !== undefined;
  const asks = !known && !portal.described && permit.keepsRows;
  if (asks) {
    statement.layout = 'asked';
    portal.described = true;
    expected.push({ kind: 'own-describe', permit, statement });
  }
  expected.push({ kind: 'execute', permit, statement, cursor });
  if (!asks) return [send];
  return [{ kind: 'control', control: { kind: 'own-describe', portal: name } }, send];
}

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes a policy that selects every pod, by `spec` for what it says besides. In `policies.yaml` it takes the place of
 * those that everything is recorded by; another file adds to them.
 */
export function writePolicy(config: string, spec: object, file = 'policies.yaml'): void {
  const policy = {
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'AuditPolicy',
    metadata: { name: 'under-test', namespace: 'local' },
    spec: { podSelector: {}, mode: 'Enforce', identity: 'Token', ...spec },
  };
  writeFileSync(join(config, file), JSON.stringify(policy));
}

/** A rule about everybody at the backend of the tests; `index` tells it from others. */
export function ruleOf(rule: object, index = 0): object {
  return { name: `rule-${index}`, backends: ['through'], anySubject: true, ...rule };
}

/** Everything is allowed but to read what is in one of two schemas. */
export function denyReadingHr(config: string): void {
  const tables = ['hr.orders', 'hr.salaries'].map((name) => ({ name, access: ['Read'] }));
  const rules = [ruleOf({ postgres: { tables }, action: 'Deny' })];
  writePolicy(config, { defaultAction: 'Allow', rules }, 'no-hr.yaml');
}

import { duration } from './duration.ts';
import { integer, keyed, object, oneOf, set, type FieldReader } from './fields.ts';
import { anyLabels, labelSelector, metadataOf, port } from './object-names.ts';
import { parseLimits } from './parse-limits.ts';
import { ruleOf } from './parse-rule.ts';
import { deliveries, recordLevels, type AuditPolicy } from './resources.ts';
import { noLimits } from './rules.ts';

const defaultWaitMs = 10_000;
const wait = duration('0s', '60s', '10s'); // an agent's driver gives up at about that time anyway

/** Reads an AuditPolicy of a namespace or of the cluster; undefined where its mistakes leave nothing to go on. */
export function parseAuditPolicy(
  kind: AuditPolicy['kind'],
  document: FieldReader,
): AuditPolicy | undefined {
  const metadata = document.required('metadata', metadataOf(kind === 'AuditPolicy'));
  const spec = document.required('spec', object(auditPolicySpec(metadata?.namespace)));
  return metadata && spec && { kind, metadata, spec };
}

/** `namespace` is that of the policy, and undefined for one of the cluster. */
function auditPolicySpec(namespace: string | undefined) {
  return (fields: FieldReader): AuditPolicy['spec'] => {
    const mode = fields.optional('mode', oneOf('Observe', 'Enforce')) ?? 'Observe';
    const spec = {
      podSelector: fields.required('podSelector', object(labelSelector)) ?? anyLabels,
      identity: fields.optional('identity', oneOf('Workload', 'Token')) ?? 'Workload',
      mode,
      defaultAction:
        fields.optional('defaultAction', oneOf('Allow', 'Deny')) ??
        (mode === 'Enforce' ? 'Deny' : 'Allow'),
      unknownHosts:
        fields.optional('unknownHosts', oneOf('Record', 'Deny')) ??
        (mode === 'Enforce' ? 'Deny' : 'Record'),
      inboundPorts: fields.optional('inbound', object(inboundPorts)) ?? [],
      record: fields.optional('record', object(record)) ?? {
        requests: 'Full',
        responses: 'Full',
        maxBytes: Infinity,
      },
      delivery: fields.optional('delivery', oneOf(...deliveries)) ?? 'Spool',
      waitMs: fields.optional('onAuditUnavailable', object(auditUnavailable)) ?? defaultWaitMs,
      limits: fields.optional('limits', object(parseLimits)) ?? noLimits,
      rules: fields.optional('rules', keyed('name', object(ruleOf(namespace)), 0, 64)) ?? [],
    } as const;
    fields.unsupported('maxBundleAge');
    return spec;
  };
}

function inboundPorts(fields: FieldReader): readonly number[] {
  return fields.required('ports', set(port, 1, 64)) ?? [];
}

function record(fields: FieldReader): AuditPolicy['spec']['record'] {
  return {
    requests: fields.optional('requests', oneOf(...recordLevels)) ?? 'Full',
    responses: fields.optional('responses', oneOf(...recordLevels)) ?? 'Full',
    maxBytes: fields.optional('maxBytes', integer(0, 2 ** 50)) ?? Infinity,
  };
}

function auditUnavailable(fields: FieldReader): number {
  return fields.optional('wait', wait) ?? defaultWaitMs;
}

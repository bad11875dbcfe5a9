import type { RecordHeader } from './kinds.ts';

/**
 * Whether a header has the fields that its kind promises, so far as a transcript shows them. Whoever may write records
 * may write anything into them; words that Chaperone chose are shown as they are, and must not steer a terminal.
 */
export function isReadable(header: RecordHeader): boolean {
  if (!isWord(header.time)) return false;
  switch (header.kind) {
    case 'session.start':
      return isWord(header.session) && isText(header.backend) && isPrincipal(header.principal);
    case 'statement':
    case 'request':
    case 'lookup':
      return isVerdict(header.verdict);
    case 'part':
      return isWord(header.channel) && isWord(header.direction) && isCount(header.backendPid ?? 0);
    case 'result':
      return (
        isWord(header.status) &&
        isCount(header.durationUs) &&
        isCount(header['db.response.returned_rows'] ?? 0) &&
        isDigest(header.digest)
      );
    case 'violation':
      return isWord(header.code);
    case 'session.end':
      return isWord(header.reason) && isCount(header.count);
    default:
      return true;
  }
}

function isVerdict(value: unknown): boolean {
  const { action, reason, policy, rule } = fieldsOf(value);
  return (
    (action === 'Allow' || action === 'Deny') &&
    isWord(reason) &&
    (policy === undefined || isWord(policy)) &&
    (rule === undefined || isWord(rule))
  );
}

function isPrincipal(value: unknown): boolean {
  const { user, groups, onBehalfOf } = fieldsOf(value);
  return (
    isText(user) &&
    (groups === undefined || (Array.isArray(groups) && groups.every(isText))) &&
    (onBehalfOf === undefined || isText(onBehalfOf))
  );
}

function isDigest(value: unknown): boolean {
  if (value === undefined) return true;
  const { sha256, length } = fieldsOf(value);
  return isWord(sha256) && isCount(length);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

/** A line without control and format characters, as names of policies, reasons and times are. */
function isWord(value: unknown): boolean {
  return typeof value === 'string' && /^[^\p{C}]{1,1000}$/u.test(value);
}

function isCount(value: unknown): boolean {
  return Number.isFinite(value);
}

import { applied, FieldReader, isObject, oneOf, Problems, show } from './fields.ts';
import { parseBackend } from './parse-backend.ts';
import { parseAuditPolicy } from './parse-policy.ts';
import { parseIdentityProvider } from './parse-provider.ts';
import { apiVersion, type Problem, type Resource } from './resources.ts';

/** Either the resource, or everything that is wrong with the document. */
export type Parsed =
  | { readonly resource: Resource; readonly problems?: never }
  | { readonly resource?: never; readonly problems: readonly Problem[] };

const parsers = new Map<string, (document: FieldReader) => Resource | undefined>([
  ['Backend', parseBackend],
  ['IdentityProvider', parseIdentityProvider],
  ['AuditPolicy', (document) => parseAuditPolicy('AuditPolicy', document)],
  ['ClusterAuditPolicy', (document) => parseAuditPolicy('ClusterAuditPolicy', document)],
]);
const laterKinds = ['MaskRule', 'ClusterMaskRule', 'ApprovalRequest', 'ApprovalDecision'];

/** Parses one document of a resource file, and reports all its mistakes at once. */
export function parseResource(document: unknown): Parsed {
  const problems = new Problems();
  const resource = isObject(document)
    ? parseDocument(document, problems)
    : problems.add('', `got ${show(document)}, want a resource`);
  if (resource && problems.found.length === 0) return { resource };
  return { problems: problems.found };
}

function parseDocument(
  document: Readonly<Record<string, unknown>>,
  problems: Problems,
): Resource | undefined {
  const fields = new FieldReader(document, '', problems);
  fields.required('apiVersion', oneOf(apiVersion));
  const kind = fields.required('kind', applied([...parsers.keys()], laterKinds));
  const parse = kind === undefined ? undefined : parsers.get(kind);
  if (!parse) return undefined; // the fields of an unknown kind mean nothing
  const resource = parse(fields);
  fields.refuseUnknown();
  return resource;
}

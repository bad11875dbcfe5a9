import { isObject } from '#core/policy/fields.ts';

/** What the API server asks about (admission.k8s.io/v1), as far as it is read. */
export interface AdmissionRequest {
  /** Of the question, not of the object. */
  readonly uid: string;
  readonly group: string;
  /** Plural and in lower case, such as `pods`. */
  readonly resource: string;
  /** Empty for the object itself. */
  readonly subResource: string;
  readonly operation: string;
  /** Empty for objects of the cluster. */
  readonly namespace: string;
  /** Nothing that outlives the question may come of it. */
  readonly dryRun: boolean;
  readonly object: unknown;
  readonly oldObject: unknown;
}

/** The answer, as it goes over the wire. */
export interface AdmissionReview {
  readonly apiVersion: 'admission.k8s.io/v1';
  readonly kind: 'AdmissionReview';
  readonly response: {
    readonly uid: string;
    readonly allowed: boolean;
    readonly patchType?: 'JSONPatch';
    /** Base64 of JSON. */
    readonly patch?: string;
    readonly warnings?: readonly string[];
    readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  };
}

/** Why something is refused, in HTTP's terms: `Forbidden` and `Invalid` stay so, `ServiceUnavailable` may pass. */
export type DenialReason = 'Forbidden' | 'Invalid' | 'ServiceUnavailable';

const denialCodes = { Forbidden: 403, Invalid: 422, ServiceUnavailable: 503 } as const;

/** What the API server shows of warnings (more than 4096 characters in all it cuts), and a person reads. */
const maxWarnings = 16;
const maxWarningLength = 240;
const maxMessageLength = 4_000;

/** Reads a question; undefined where it is none of admission.k8s.io/v1. */
export function tryParseReview(body: unknown): AdmissionRequest | undefined {
  if (!isObject(body) || body['apiVersion'] !== 'admission.k8s.io/v1') return undefined;
  const { kind, request } = body;
  if (kind !== 'AdmissionReview' || !isObject(request)) return undefined;
  const { uid, resource, subResource, operation, namespace, dryRun, object, oldObject } = request;
  if (typeof uid !== 'string' || uid === '' || !isObject(resource)) return undefined;
  if (typeof resource['resource'] !== 'string' || typeof operation !== 'string') return undefined;
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return {
    uid,
    group: text(resource['group']),
    resource: resource['resource'],
    subResource: text(subResource),
    operation,
    namespace: text(namespace),
    dryRun: dryRun === true,
    object,
    oldObject,
  };
}

/** Lets an object in, changed by the operations of `patch`. */
export function allow(
  { uid }: AdmissionRequest,
  patch: readonly unknown[] = [],
  warnings: readonly string[] = [],
): AdmissionReview {
  const changes = patch.length > 0 && {
    patchType: 'JSONPatch' as const,
    patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
  };
  const shown = warnings.slice(0, maxWarnings).map((text) => cut(text, maxWarningLength));
  return answer({ uid, allowed: true, ...changes, ...(shown.length > 0 && { warnings: shown }) });
}

/** Keeps an object out, and says why. */
export function deny(
  { uid }: AdmissionRequest,
  reason: DenialReason,
  message: string,
): AdmissionReview {
  const status = { code: denialCodes[reason], reason, message: cut(message, maxMessageLength) };
  return answer({ uid, allowed: false, status });
}

function answer(response: AdmissionReview['response']): AdmissionReview {
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response };
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

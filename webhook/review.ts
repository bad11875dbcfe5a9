import { isDeepStrictEqual } from 'node:util';
import { isObject } from '#core/policy/fields.ts';
import { allow, deny, type AdmissionRequest, type AdmissionReview } from './admission.ts';
import { documentOf, readDocument } from './document.ts';
import { injectPod, type InjectOptions, type PodFacts, type Uids } from './inject.ts';
import { tryParsePod, type OwnerReference, type Pod } from './pod.ts';
import type { RefusalReason } from './refusals.ts';

/** How far the label goes that brought a pod here. */
export interface ReviewFacts extends PodFacts {
  /** Whether the namespace enforces, or the pod alone carries a label. */
  readonly scope: 'namespace' | 'pod';
}

/** What came of a question; labels of a metric. */
export type Outcome =
  | { readonly kind: 'injected' }
  /** Was so before, or is nothing that is injected. */
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'valid' }
  | {
      readonly kind: 'refused';
      readonly reasons: readonly (RefusalReason | 'invalid' | 'unreadable')[];
    };

/** What is to be told to the owner of a pod. */
export interface Notice {
  readonly namespace: string;
  readonly owner: OwnerReference;
  readonly type: 'Normal' | 'Warning';
  readonly reason: 'ChaperoneInjected' | 'ChaperoneRefused';
  readonly message: string;
}

/** A question with its answer. */
export interface Reviewed {
  readonly review: AdmissionReview;
  readonly outcome: Outcome;
  /** Undefined where the pod has no owner: its author reads the answer itself. */
  readonly notice: Notice | undefined;
}

/** Returns the pod that a question asks to inject; undefined where it asks for nothing of the kind. */
export function podToInject(request: AdmissionRequest): Pod | undefined {
  const { group, resource, subResource, operation } = request;
  const asksForPod = group === '' && resource === 'pods' && subResource === '';
  return asksForPod && operation === 'CREATE' ? tryParsePod(request.object) : undefined;
}

/** Answers whether, and how changed, a pod is let in. */
export function reviewPod(
  request: AdmissionRequest,
  pod: Pod,
  facts: ReviewFacts,
  { options, uids }: { readonly options: InjectOptions; readonly uids: Uids },
): Reviewed {
  const injection = injectPod(pod, facts, options, uids);
  if (injection.kind === 'refused') {
    const message = injection.refusals.map((refusal) => refusal.message).join('; ');
    return {
      review: deny(request, 'Forbidden', message),
      outcome: { kind: 'refused', reasons: injection.refusals.map(({ reason }) => reason) },
      notice: noticeOf(request, pod, 'ChaperoneRefused', message),
    };
  }
  if (injection.patch.length === 0)
    return { review: allow(request), outcome: { kind: 'unchanged' }, notice: undefined };
  const what = summaryOf(facts);
  const warnings = [what, ...injection.warnings].map((text) => `chaperone: ${text}`);
  return {
    review: allow(request, injection.patch, warnings),
    outcome: { kind: 'injected' },
    notice: noticeOf(request, pod, 'ChaperoneInjected', [what, ...injection.warnings].join('; ')),
  };
}

function summaryOf({ mode, scope }: ReviewFacts): string {
  if (mode === 'explicit')
    return 'what this pod dials through the sidecar is recorded; in explicit mode it can dial past it';
  return scope === 'namespace'
    ? 'connections of this pod are led through the sidecar and recorded'
    : 'connections of this pod are led through the sidecar and recorded, as long as its author labels it';
}

function noticeOf(
  { namespace, dryRun }: AdmissionRequest,
  { metadata }: Pod,
  reason: Notice['reason'],
  message: string,
): Notice | undefined {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  if (owner === undefined || dryRun) return undefined;
  const type = reason === 'ChaperoneRefused' ? 'Warning' : 'Normal';
  return { namespace, owner, type, reason, message };
}

/** Answers what cannot be injected because it is not what is injected: the webhook is asked about too much. */
export function refuseUnreadable(request: AdmissionRequest): Reviewed {
  const { resource, subResource, operation } = request;
  const what = [resource, subResource].filter((part) => part !== '').join('/');
  return {
    review: deny(
      request,
      'Invalid',
      `this webhook injects pods that are created, not ${operation} of ${what}`,
    ),
    outcome: { kind: 'refused', reasons: ['unreadable'] },
    notice: undefined,
  };
}

/**
 * Answers whether one of our own resources is let in: with the parsers that sidecars are given policies by, so that what
 * the cluster takes is what they understand.
 */
export function reviewResource(request: AdmissionRequest): Reviewed {
  const valid: Reviewed = {
    review: allow(request),
    outcome: { kind: 'valid' },
    notice: undefined,
  };
  const { object, oldObject, operation, subResource } = request;
  if (operation === 'DELETE' || subResource !== '') return valid;
  // A resource from before an upgrade must go on being labelled and deleted, with finalizers removed, whatever it says.
  if (operation === 'UPDATE' && isSameContent(object, oldObject)) return valid;
  const { problems } = readDocument(documentOf(object)).parsed;
  if (problems === undefined) return valid;
  const message = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return {
    review: deny(request, 'Invalid', message),
    outcome: { kind: 'refused', reasons: ['invalid'] },
    notice: undefined,
  };
}

function isSameContent(object: unknown, oldObject: unknown): boolean {
  return (
    isObject(object) &&
    isObject(oldObject) &&
    isDeepStrictEqual(object['spec'], oldObject['spec']) &&
    isDeepStrictEqual(documentOf(object)['metadata'], documentOf(oldObject)['metadata'])
  );
}

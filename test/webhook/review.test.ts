import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { tryParseReview, type AdmissionRequest } from '../../webhook/admission.ts';
import {
  podToInject,
  refuseUnreadable,
  reviewPod,
  reviewResource,
  type ReviewFacts,
  type Reviewed,
} from '../../webhook/review.ts';
import { injectOptions, plainPod, podFacts } from '../support/pods.ts';

type Fields = Record<string, unknown>;

const uids = { draw: () => 1_234_567_890, keeps: true };
const namespaceFacts: ReviewFacts = { ...podFacts, scope: 'namespace' };
const owner = {
  apiVersion: 'apps/v1',
  kind: 'ReplicaSet',
  name: 'agent-5',
  uid: 'u',
  controller: true,
};

function question(fields: Fields): AdmissionRequest {
  const request = {
    uid: 'question-1',
    resource: { group: '', version: 'v1', resource: 'pods' },
    operation: 'CREATE',
    namespace: 'agents',
    ...fields,
  };
  const review = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
  return tryParseReview(review) ?? assert.fail('it cannot be read');
}

function ask(object: object, facts = namespaceFacts, fields: Fields = {}): Reviewed {
  const request = question({ object, ...fields });
  const pod = podToInject(request) ?? assert.fail('it is no pod to be injected');
  return reviewPod(request, pod, facts, { options: injectOptions, uids });
}

const patchOf = ({ review }: Reviewed): unknown =>
  JSON.parse(Buffer.from(review.response.patch ?? '', 'base64').toString());

describe('a question about a pod', () => {
  test('is answered with a patch, under the id of the question', () => {
    const reviewed = ask(plainPod());
    const { uid, allowed, patchType } = reviewed.review.response;
    assert.deepEqual({ uid, allowed, patchType }, { uid: 'question-1', allowed: true, patchType: 'JSONPatch' }); // prettier-ignore
    assert.ok(Array.isArray(patchOf(reviewed)));
    assert.deepEqual(reviewed.outcome, { kind: 'injected' });
  });

  test('is answered with a warning that says how far the label goes', () => {
    const says: [Partial<ReviewFacts>, RegExp][] = [
      [{}, /recorded$/],
      [{ scope: 'pod' }, /as long as its author labels it$/],
      [{ mode: 'explicit' }, /in explicit mode it can dial past it$/],
    ];
    for (const [facts, text] of says)
      assert.match(ask(plainPod(), { ...namespaceFacts, ...facts }).review.response.warnings?.[0] ?? '', text); // prettier-ignore
  });

  test('is refused with every reason, to the author and to the owner', () => {
    const pod = plainPod({ hostNetwork: true, hostUsers: false }, { ownerReferences: [owner] });
    const { review, outcome, notice } = ask(pod);
    assert.equal(review.response.allowed, false);
    assert.equal(review.response.status?.code, 403);
    assert.match(review.response.status.message, /spec\.hostNetwork .*; spec\.hostUsers/);
    assert.deepEqual(outcome, { kind: 'refused', reasons: ['host-namespace', 'user-namespace'] });
    assert.deepEqual([notice?.owner.name, notice?.type, notice?.namespace], ['agent-5', 'Warning', 'agents']); // prettier-ignore
  });

  test('tells an owner of an injection, but not of one that is only tried', () => {
    const pod = plainPod({}, { ownerReferences: [{ ...owner, controller: false }, owner] });
    assert.equal(ask(pod).notice?.reason, 'ChaperoneInjected');
    assert.equal(ask(pod, namespaceFacts, { dryRun: true }).notice, undefined);
    assert.equal(ask(plainPod()).notice, undefined);
  });

  test('is bounded in what it answers', () => {
    const names = Array.from({ length: 300 }, (_, index) => `c${index}`.padEnd(60, 'x'));
    const env = [{ name: 'PGSSLROOTCERT', value: 'mine' }];
    const many = ask(plainPod({ containers: names.map((name) => ({ name, env })) }));
    const length = (many.review.response.warnings ?? []).join('').length;
    assert.ok(length > 1_000 && length < 4_096, `${length}`);
    const securityContext = { privileged: true };
    const refused = ask(plainPod({ containers: names.map((name) => ({ name, securityContext })) }));
    assert.equal(refused.review.response.status?.message.length, 4_000);
  });

  test('is no question to inject when it is about anything else', () => {
    const object = plainPod();
    const others: Fields[] = [
      { object, operation: 'UPDATE' },
      { object, subResource: 'ephemeralcontainers' },
      { object, resource: { group: '', version: 'v1', resource: 'services' } },
      { object, resource: { group: 'metrics.k8s.io', version: 'v1', resource: 'pods' } },
      { object: { metadata: {}, spec: {} } },
      { object: null, operation: 'DELETE' },
    ];
    for (const fields of others) {
      const request = question(fields);
      assert.equal(podToInject(request), undefined);
      assert.equal(refuseUnreadable(request).review.response.allowed, false);
    }
  });
});

test('what is no AdmissionReview of version 1 is not read', () => {
  const request = { uid: 'u', resource: { resource: 'pods' }, operation: 'CREATE' };
  const good = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
  assert.ok(tryParseReview(good));
  const wrong = [
    null, 'x', [], {}, { ...good, apiVersion: 'admission.k8s.io/v1beta1' }, { ...good, kind: 'Pod' },
    { ...good, request: undefined }, { ...good, request: { ...request, uid: '' } },
    { ...good, request: { ...request, uid: 1 } }, { ...good, request: { ...request, resource: 'pods' } },
    { ...good, request: { ...request, operation: ['CREATE'] } },
  ]; // prettier-ignore
  for (const value of wrong) assert.equal(tryParseReview(value), undefined, JSON.stringify(value));
});

describe('a question about a policy', () => {
  const about = (object: Fields, fields: Fields = {}): Reviewed => {
    const kind = String((object as Fields | null)?.['kind']);
    const plural = kind === 'Backend' ? 'backends' : `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
    const resource = { group: 'chaperone.dev', version: 'v1alpha1', resource: plural };
    return reviewResource(question({ resource, object, ...fields }));
  };
  /** What the API server makes of an author's document. */
  const served = (document: Fields): Fields => ({
    ...document,
    metadata: {
      ...(document['metadata'] as Fields),
      uid: '0',
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      managedFields: [{ manager: 'kubectl' }],
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
      finalizers: ['x'],
    },
    status: { conditions: [] },
  });
  const examples = globSync('examples/**/*.yaml')
    .flatMap((file) =>
      parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS() as Fields),
    )
    .filter(({ apiVersion }) => apiVersion === 'chaperone.dev/v1alpha1'); // beside what is Kubernetes' own
  const policy = examples.find(({ kind }) => kind === 'AuditPolicy') ?? assert.fail();
  const wrong = { ...policy, spec: { ...(policy['spec'] as Fields), mode: 'enforce' } };

  test('lets in what sidecars understand', () => {
    const kinds = new Set(examples.map(({ kind }) => kind));
    assert.ok(kinds.has('Backend') && kinds.has('IdentityProvider') && kinds.has('AuditPolicy'));
    for (const document of examples) {
      const { review, outcome } = about(served(document));
      assert.equal(review.response.allowed, true, review.response.status?.message);
      assert.equal(outcome.kind, 'valid');
    }
  });

  test('refuses what they do not, with the path of each mistake', () => {
    const { review, outcome } = about(served({ ...wrong, metadata: policy['metadata'], spec: { ...wrong.spec, rules: [{}] } })); // prettier-ignore
    assert.equal(review.response.status?.code, 422);
    assert.match(review.response.status.message, /spec\.mode: got "enforce".*; spec\.rules\[0\]/);
    assert.deepEqual(outcome, { kind: 'refused', reasons: ['invalid'] });
  });

  test('refuses a change into what they do not understand, and lets others be made to such a policy', () => {
    const change = { operation: 'UPDATE', oldObject: served(policy) };
    assert.equal(about(served(wrong), change).review.response.allowed, false);
    const old = { operation: 'UPDATE', oldObject: served(wrong) };
    const released = { ...served(wrong), metadata: { ...(served(wrong)['metadata'] as Fields), finalizers: [] } }; // prettier-ignore
    assert.equal(about(released, old).review.response.allowed, true);
    assert.equal(about(served(policy), old).review.response.allowed, true);
    assert.equal(about({}, { operation: 'DELETE', object: null }).review.response.allowed, true);
    assert.equal(about(served(wrong), { ...change, subResource: 'status' }).review.response.allowed, true); // prettier-ignore
  });

  test('refuses one that is too long to be read at each pod, whatever it says', () => {
    const long = { ...policy, spec: { podSelector: {}, filler: 'ä'.repeat(130 * 1024) } };
    const { review } = about(served(long));
    assert.match(review.response.status?.message ?? '', /^spec: it has 266\d{3} bytes of JSON, want at most 262144/);
  }); // prettier-ignore

  test('takes a name that the server is yet to make up', () => {
    const { namespace } = policy['metadata'] as Fields;
    const metadata = { generateName: 'policy-', namespace };
    assert.equal(about({ ...policy, metadata }).review.response.allowed, true);
    assert.equal(about({ ...policy, metadata: { namespace } }).review.response.allowed, false);
  });

  test('refuses what is no object', () => {
    for (const object of [null, 'x', [], {}])
      assert.equal(about(object as Fields).review.response.allowed, false);
  });
});

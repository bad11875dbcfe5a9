import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { raiseResources } from '../../webhook/pod-resources.ts';

const sidecar = {
  requests: { cpu: '20m', memory: '96Mi' },
  limits: { cpu: '2', memory: '256Mi' },
};
const init = {
  requests: { cpu: '10m', memory: '16Mi' },
  limits: { cpu: '500m', memory: '128Mi' },
};

describe('amounts that a pod states as a whole', () => {
  test('grow by those of the sidecar', () => {
    const stated = {
      requests: { cpu: '0.1', memory: '1Gi' },
      limits: { cpu: '1', memory: '1.5Gi' },
    };
    assert.deepEqual(raiseResources(stated, { sidecar, init }), {
      requests: { cpu: '120m', memory: String((1024 + 96) * 1024 ** 2) },
      limits: { cpu: '3', memory: String((1536 + 256) * 1024 ** 2) },
    });
  });

  test('leave room for what runs before the agent, which may ask for more than the agent does', () => {
    const stated = { requests: { cpu: '1m' } };
    assert.deepEqual(raiseResources(stated, { sidecar, init }), { requests: { cpu: '30m' } });
    assert.deepEqual(raiseResources(stated, { sidecar, init: undefined }), { requests: { cpu: '21m' } }); // prettier-ignore
  });

  test('stay as they are where ours say nothing of them, or they cannot be read', () => {
    assert.equal(raiseResources({}, { sidecar, init }), undefined);
    const pages = { limits: { 'hugepages-2Mi': '4Mi' }, requests: { 'hugepages-2Mi': '4Mi' } };
    assert.equal(raiseResources(pages, { sidecar, init }), undefined);
    const odd = { requests: { cpu: 'much', 'hugepages-2Mi': '4Mi' } };
    assert.deepEqual(raiseResources(odd, { sidecar, init }), odd);
  });
});

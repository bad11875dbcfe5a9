import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  lifetimes,
  planRotation,
  trustedAuthorities,
  type Certificates,
  type RotationStep,
} from '../../../controller/certificates/plan.ts';
import { takeStep } from '../../../controller/certificates/steps.ts';

const names = ['chaperone-webhook.chaperone.svc', 'chaperone-webhook.chaperone.svc.cluster.local'];
const nothing: Certificates = {
  authority: undefined, next: undefined, previous: undefined, leaf: undefined, promotedMs: undefined,
}; // prettier-ignore
const start = Date.UTC(2026, 0, 1);
const day = 86_400_000;

/** Takes steps until the plan says to wait. */
async function settle(given: Certificates, nowMs: number, wanted = names, wantedMs?: number) {
  const steps: RotationStep['kind'][] = [];
  let certificates = given;
  const circumstances = { names: wanted, publishedMs: nowMs - lifetimes.settling, wantedMs, nowMs };
  let step = planRotation(certificates, circumstances);
  while (step.kind !== 'wait') {
    steps.push(step.kind);
    assert.ok(steps.length < 8, steps.join());
    certificates = await takeStep(
      certificates,
      step,
      { name: 'chaperone-webhook', names: wanted },
      nowMs,
    );
    step = planRotation(certificates, circumstances);
  }
  return { certificates, steps, untilMs: step.untilMs };
}

function isTrusted({ leaf }: Certificates, authorities: string): boolean {
  const certificate = new X509Certificate(leaf?.cert ?? '');
  return authorities
    .split(/(?<=-----END CERTIFICATE-----)\s+/)
    .filter((pem) => pem !== '')
    .some((pem) => certificate.verify(new X509Certificate(pem).publicKey));
}

describe('certificates of the webhook', () => {
  test('are made of nothing, for the names that are dialled', async () => {
    const { certificates, steps } = await settle(nothing, start);
    const leaf = new X509Certificate(certificates.leaf?.cert ?? '');
    assert.deepEqual(steps, ['create-authority']);
    for (const name of names) assert.equal(leaf.checkHost(name), name);
    assert.ok(leaf.checkPrivateKey(createPrivateKey(certificates.leaf?.key ?? '')));
    assert.ok(leaf.checkIssued(new X509Certificate(certificates.authority?.cert ?? '')));
  });

  test('rotate for three years so that old and new trust each fit old and new leaf', async () => {
    let { certificates, untilMs } = await settle(nothing, start);
    const seen = new Set<string>();
    while (untilMs < start + 3 * 365 * day) {
      const now = untilMs;
      const before = certificates;
      const settled = await settle(before, now);
      ({ certificates, untilMs } = settled);
      for (const step of settled.steps) seen.add(step);
      assert.ok(untilMs > now, 'it always waits for something to come');
      // A client that has not heard yet, and a server that still shows the last leaf.
      assert.ok(isTrusted(certificates, trustedAuthorities(before)), `${settled.steps.join()}`);
      assert.ok(isTrusted(before, trustedAuthorities(certificates)), `${settled.steps.join()}`);
      const leaf = new X509Certificate(certificates.leaf?.cert ?? '');
      assert.ok(Date.parse(leaf.validTo) > now + lifetimes.leafRest - 1_000);
      assert.ok(trustedAuthorities(certificates).split('BEGIN').length - 1 <= 2);
    }
    assert.deepEqual(seen, new Set(['issue-leaf', 'announce-next', 'promote-next', 'forget-previous'])); // prettier-ignore
  });

  test('keep no key of an authority that is replaced', async () => {
    const { certificates } = await settle(nothing, start);
    const end = start + lifetimes.authority - lifetimes.authorityOverlap;
    const announced = (await settle(certificates, end)).certificates;
    const promoted = (await settle(announced, end + lifetimes.announcement)).certificates;
    assert.equal(promoted.previous, certificates.authority?.cert);
    assert.ok(!JSON.stringify(promoted).includes(JSON.stringify(certificates.authority?.key)));
  });

  test('are replaced once at the time that somebody names, and announced at once', async () => {
    const { certificates } = await settle(nothing, start);
    const asked = start + 5 * day;
    for (const wantedMs of [asked + 60_000, asked + 9 * day]) {
      const announced = await settle(certificates, asked, names, wantedMs);
      assert.deepEqual(announced.steps, ['announce-next']);
      const early = await settle(announced.certificates, wantedMs - 1, names, wantedMs);
      assert.deepEqual([early.steps, early.untilMs], [[], wantedMs]);
      const promoted = await settle(announced.certificates, wantedMs, names, wantedMs);
      assert.deepEqual(promoted.steps, ['promote-next']);
      assert.ok(isTrusted(certificates, trustedAuthorities(promoted.certificates)));
      const forgotten = await settle(promoted.certificates, wantedMs + day, names, wantedMs);
      assert.deepEqual(forgotten.steps, ['forget-previous']);
      const later = await settle(forgotten.certificates, wantedMs + 2 * day, names, wantedMs);
      assert.deepEqual(later.steps, [], 'it is done');
    }
  });

  test('are not replaced for a time that is too far away to be meant', async () => {
    const { certificates } = await settle(nothing, start);
    assert.deepEqual((await settle(certificates, start, names, start + 300 * day)).steps, []);
  });

  test('of a new installation are not replaced by a time that has passed', async () => {
    assert.deepEqual((await settle(nothing, start, names, start - day)).steps, ['create-authority']); // prettier-ignore
  });

  test('begin anew where nothing can be gone on with', async () => {
    const { certificates } = await settle(nothing, start);
    const cases: [string, Certificates, number, string[]][] = [
      ['after years without a controller', certificates, start + 3 * 365 * day, ['create-authority']],
      ['after a clock was set back', certificates, start - day, ['create-authority']],
      ['with an authority that cannot be read', { ...certificates, authority: { cert: 'x', key: 'x' } }, start, ['create-authority']],
      ['with a leaf that cannot be read', { ...certificates, leaf: { cert: 'x', key: 'x' } }, start, ['issue-leaf']],
      ['with an authority that ended while the next waited', { ...certificates, authority: undefined, next: certificates.authority }, start, ['promote-next']],
    ]; // prettier-ignore
    for (const [what, given, now, steps] of cases)
      assert.deepEqual((await settle(given, now)).steps, steps, what);
  });

  test('are made anew for other names', async () => {
    const { certificates } = await settle(nothing, start);
    assert.deepEqual((await settle(certificates, start, [...names, 'other.svc'])).steps, ['issue-leaf']); // prettier-ignore
    const other = (await settle(nothing, start)).certificates;
    const foreign = { ...certificates, leaf: other.leaf };
    assert.deepEqual((await settle(foreign, start)).steps, ['issue-leaf']);
  });
});

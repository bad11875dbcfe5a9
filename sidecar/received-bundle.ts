import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { BundleMessage } from '#core/bundle-message.ts';
import { parseResource } from '#core/policy/parse.ts';
import { resolve, type Bundle } from '#core/policy/resolve.ts';
import { nameOf, type Problem, type Resource } from '#core/policy/resources.ts';
import { tryParseAddress } from '../runtime/settings.ts';
import { tryParseNetworks } from './interception/denied-addresses.ts';

const maxProblems = 100;

/** A bundle that can be put in force with all that came with it, or what is wrong. */
export type Judged =
  | { readonly bundle: Bundle; readonly problems?: never }
  | { readonly bundle?: never; readonly problems: readonly Problem[] };

/** Makes a bundle of what was sent, with the same code as everybody who reads resources. */
export function judgeBundle(message: BundleMessage): Judged {
  const around = surroundingsProblems(message);
  if (around.length > 0) return { problems: around };
  const parsed = message.resources.map(parseResource);
  const wrong = parsed.flatMap(({ problems = [] }, index) =>
    problems.map((problem) => at(problem, titleOf(message.resources[index]))),
  );
  if (wrong.length > 0) return { problems: wrong.slice(0, maxProblems) };
  const resources = parsed.flatMap(({ resource }) => resource ?? []);
  const { pod, namespace, serviceAccount, labels } = message.workload;
  const workload = { pod, namespace, serviceAccount, labels: new Map(Object.entries(labels)) };
  const types = Object.entries(message.credentials).map(
    ([name, { type }]) => [name, type] as const,
  );
  const { bundle, problems = [] } = resolve(resources, workload, new Map(types));
  if (!bundle) return { problems: problems.slice(0, maxProblems).map((problem) => at(problem, nameOfAt(resources, problem.resource))) }; // prettier-ignore
  const providers = bundle.providers.map((provider) => ({
    ...provider,
    keys: message.keys[provider.name] ?? [],
  }));
  return { bundle: { ...bundle, providers } };
}

function at({ path, message }: Problem, resource: string): Problem {
  return { path: `${resource}: ${path}`.slice(0, 1_024), message: message.slice(0, 1_024) };
}

function nameOfAt(resources: readonly Resource[], index: number): string {
  const resource = resources[index];
  return resource ? nameOf(resource) : 'a resource';
}

function titleOf(document: Readonly<Record<string, unknown>> | undefined): string {
  const { kind } = document ?? {};
  return typeof kind === 'string' ? kind : 'a resource';
}

/** What is said of other servers has to be usable as it stands: an empty authority, say, would stand for all public ones. */
function surroundingsProblems({ authorities, network }: BundleMessage): readonly Problem[] {
  const { controller, collector } = authorities;
  const resolver = tryParseAddress(network.resolver);
  const checks: readonly (readonly [path: string, holds: boolean, wanted: string])[] = [
    ['authorities.controller', isCertificate(controller), 'certificates in PEM'],
    ['authorities.collector', isCertificate(collector), 'certificates in PEM'],
    ['network.resolver', resolver !== undefined && isIP(resolver.host) !== 0, 'address:port'],
    ['network.deniedAddresses', tryParseNetworks(network.deniedAddresses.join(',')) !== undefined, 'addresses and networks'], // prettier-ignore
  ];
  return checks.flatMap(([path, holds, wanted]) =>
    holds ? [] : [{ path, message: `want ${wanted}` }],
  );
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).validTo !== '';
  } catch {
    return false;
  }
}

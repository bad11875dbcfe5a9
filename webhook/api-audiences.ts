import { readFileSync } from 'node:fs';
import { decodeJwt, errors } from 'jose';

/** Where the kubelet puts a pod's own token. */
const ownToken = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * Returns the audiences that the Kubernetes API server takes tokens for: all of them stand in one that was asked for
 * without naming any, as that of this pod is. They may change while this runs, and the kubelet renews the token every 48
 * minutes. Empty outside of a cluster.
 * @throws JWTInvalid where the file holds no such token, and what reading it throws, unless it is not there at all.
 */
export function apiAudiences(file = ownToken): readonly string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return []; // whoever runs this elsewhere has the rights of a kubeconfig, and no token of a pod
  }
  const { aud } = decodeJwt(text);
  if (aud === undefined) throw new errors.JWTInvalid(`${file} names no audience`);
  return [aud].flat();
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

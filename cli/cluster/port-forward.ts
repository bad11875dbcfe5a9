import { Duplex, PassThrough } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';

/** A port of a pod. */
export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

/**
 * Opens a connection to a port of a pod through the API server, with the rights of the kubeconfig's user. Nothing listens
 * on this machine meanwhile.
 * @throws ChaperoneError `config-invalid`.
 */
export async function forwardPort(
  config: KubeConfig,
  { namespace, pod, port }: PodPort,
): Promise<Duplex> {
  const { PortForward } = await import('@kubernetes/client-node');
  const fromPod = new PassThrough();
  const toPod = new PassThrough();
  const trouble = new PassThrough();
  const connection = Duplex.from({ readable: fromPod, writable: toPod });
  // What the other end says of a connection that it could not make, or that broke.
  trouble.once('data', (text: Buffer) => {
    const message = `port ${port} of pod ${namespace}/${pod} cannot be reached: ${text.toString().trim()}`;
    connection.destroy(new ChaperoneError('config-invalid', message));
  });
  try {
    const forward = new PortForward(config);
    const socket = await forward.portForward(namespace, pod, [port], fromPod, trouble, toPod);
    if ('addEventListener' in socket) {
      socket.addEventListener('close', () => fromPod.end());
      connection.once('close', () => socket.close());
    }
  } catch (cause) {
    const message = `the API server forwards no port of pod ${namespace}/${pod}: it takes the right to create pods/portforward there`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
  return connection;
}

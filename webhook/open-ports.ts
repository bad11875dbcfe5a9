import { healthPort } from './names.ts';
import type { Container, Handler } from './pod.ts';

/**
 * Returns the ports on which a pod can be reached from outside: the sidecar's own, those of the policies, and those
 * that the kubelet asks for probes and lifecycle steps. Sorted, each once.
 */
export function findOpenPorts(
  containers: readonly Container[],
  inboundPorts: readonly number[],
): readonly number[] {
  const asked = containers.flatMap((container) =>
    handlersOf(container).flatMap((handler) => portOf(handler, container)),
  );
  const ports = new Set([healthPort, ...inboundPorts, ...asked]);
  return [...ports].toSorted((a, b) => a - b);
}

/** What the kubelet does at a container: its probes, and the steps of its lifecycle. */
export function handlersOf(container: Container): readonly Handler[] {
  const { startupProbe, readinessProbe, livenessProbe, lifecycle } = container;
  return [startupProbe, readinessProbe, livenessProbe, lifecycle?.postStart, lifecycle?.preStop]
    .filter((handler) => handler !== undefined); // prettier-ignore
}

/** A name that no port of the container has is the API server's to refuse. */
function portOf({ httpGet, tcpSocket, grpc }: Handler, { ports = [] }: Container): number[] {
  const port = httpGet?.port ?? tcpSocket?.port ?? grpc?.port;
  const isNumber = typeof port === 'number' || /^\d+$/.test(port ?? '');
  const number = isNumber
    ? Number(port)
    : ports.find(({ name }) => name !== undefined && name === port)?.containerPort;
  return number !== undefined && number >= 1 && number <= 65_535 ? [number] : [];
}

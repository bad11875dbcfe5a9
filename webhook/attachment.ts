import type { Attachment } from '#core/bundle-message.ts';
import { keys } from './names.ts';
import type { Mode } from './own-parts.ts';

/**
 * Says how far a pod is held to its sidecar, by how it was injected and by the labels of its namespace. Without the rules of
 * nft an agent can dial past its sidecar, whatever else the namespace says.
 */
export function attachmentOf(mode: Mode, labels: Readonly<Record<string, string>>): Attachment {
  if (mode === 'explicit') return labels[keys.mode] === 'explicit' ? 'Explicit' : 'Pod';
  return labels[keys.enforce] === 'true' ? 'Namespace' : 'Pod';
}

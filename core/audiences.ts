/**
 * Audiences of the tokens that our servers take. Each has its own: what one was sent, it cannot replay at another.
 * Sidecars have one for each of these.
 */
export const sidecarAudiences = {
  controller: 'chaperone-controller',
  collector: 'chaperone-collector',
} as const;

/** Of people and their tools, at either server. */
export const readAudience = 'chaperone-read';

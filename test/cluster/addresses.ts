/**
 * Addresses of the test cluster. They are fixed, so that tests can write them down; a machine has one cluster at a time.
 * The host has routes to pods and Services, and pods reach a server of a test at the host's end with their own address
 * as its peer.
 */
export const addresses = {
  /** The host's end of the link into the node's network namespace. */
  host: { v4: '10.250.0.254', v6: 'fd10:250::fe' },
  node: { v4: '10.250.0.1', v6: 'fd10:250::1' },
  pods: { v4: '10.244.0.0/24', v6: 'fd10:244::/64' },
  services: { v4: '10.96.0.0/16', v6: 'fd10:96::/112' },
  /** The first of the Services' addresses is the API server's. */
  apiService: '10.96.0.1',
  dns: { v4: '10.96.0.10', v6: 'fd10:96::a' },
} as const;

/** The node's name. */
export const nodeName = 'node0';

import { addresses } from './addresses.ts';

/** What the cluster's programs are told in files. Texts in, texts out; JSON is YAML too. */

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A kubeconfig of somebody with a certificate; all three are PEM. */
export function kubeconfigOf(
  user: string,
  pem: { readonly ca: string; readonly certificate: string; readonly key: string },
): string {
  const server = `https://${addresses.node.v4}:6443`;
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user } }],
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': base64(pem.ca) } }],
    users: [
      {
        name: user,
        user: {
          'client-certificate-data': base64(pem.certificate),
          'client-key-data': base64(pem.key),
        },
      },
    ],
  });
}

/** A bridge with addresses of both families. Nothing is masqueraded: servers of the tests see the pods' own addresses. */
export function podNetwork(state: string): string {
  return JSON.stringify({
    cniVersion: '0.4.0',
    name: 'pods',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: `${state}/cni-addresses`,
          ranges: [[{ subnet: addresses.pods.v4 }], [{ subnet: addresses.pods.v6 }]],
          routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
        },
      },
    ],
  });
}

export function containerdSettings(places: {
  readonly state: string;
  readonly runDirectory: string;
  readonly socket: string;
  readonly cniDirectory: string;
}): string {
  return `version = 2
root = "${places.state}/containerd"
state = "${places.runDirectory}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${places.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE no score may fall, and no container would start
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${places.cniDirectory}"
    conf_dir = "${places.state}/cni"
`;
}

/** Runs on cgroup v1 too, without iptables, and leaves alone what is not its own. */
export function kubeletSettings(state: string, socket: string): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${state}/pki/ca.crt` },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: `${state}/pki/kubelet.crt`,
    tlsPrivateKeyFile: `${state}/pki/kubelet.key`,
    containerRuntimeEndpoint: `unix://${socket}`,
    cgroupDriver: 'cgroupfs',
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    clusterDomain: 'cluster.local',
    clusterDNS: [addresses.dns.v4],
    resolvConf: '',
    makeIPTablesUtilChains: false,
    podLogsDir: `${state}/log/pods`,
    volumePluginDir: `${state}/volume-plugins`,
    evictionHard: { 'memory.available': '100Mi' },
    imageGCHighThresholdPercent: 100, // nobody could pull an image again that is gone
  });
}

/** Names outside the cluster are asked for at the host's end of the link, where a test may have a server. */
export function dnsSettings(state: string): string {
  return `.:53 {
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig ${state}/pki/coredns.conf
    fallthrough in-addr.arpa ip6.arpa
  }
  forward . ${addresses.host.v4}
  cache 5
  reload
}
`;
}

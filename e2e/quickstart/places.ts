/** Where everything of the quickstart is, and what it is called. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Repository root. */
export const ROOT: string = join(import.meta.dirname, '../..');

/** A unix socket's address holds 107 bytes (unix(7)). */
const MAX_SOCKET_PATH = 107;

/** The simulated nodes: names of the Node objects. */
export const NODES = ['node-1', 'node-2'] as const;
export type NodeName = (typeof NODES)[number];

/** The pods of manifests/pods.yaml and the node that each is bound to there. */
export const PODS = { web: 'node-1', db: 'node-2', batch: 'node-1', report: 'node-2' } as const;
export type PodName = keyof typeof PODS;

/** The two kinds of network that a pod can be attached to, by the main plugin that makes the interface. */
export const LINKS = {
  pods: { type: 'bridge', ifname: 'eth0' },
  storage: { type: 'macvlan', ifname: 'net1' },
} as const;
export type LinkName = keyof typeof LINKS;

/** Paths and names of one quickstart; there is at most one for each state directory and prefix. */
export class Places {
  /** Data, logs, kubeconfigs, sockets: removed as a whole by quickstart-down. */
  readonly directory: string;
  /** What the names of all network namespaces and CNI networks begin with. */
  readonly prefix: string;

  constructor(directory: string, prefix: string) {
    this.directory = directory;
    this.prefix = prefix;
  }

  get stateFile(): string {
    return join(this.directory, 'quickstart.json');
  }

  /** Directory of etcd, kube-apiserver and their kubeconfigs. */
  get controlPlane(): string {
    return join(this.directory, 'controlplane');
  }

  /** What a shell needs to look further. */
  get envFile(): string {
    return join(this.directory, 'env.sh');
  }

  logFile(program: string): string {
    return join(this.directory, `${program}.log`);
  }

  /** @throws Error if the path is too long for a unix socket */
  socket(node: NodeName): string {
    const path = join(this.directory, node, 'agent.sock');
    const bytes = Buffer.byteLength(path);
    if (bytes > MAX_SOCKET_PATH) {
      throw new Error(
        `${path} has ${bytes} bytes, and a unix socket's path at most ${MAX_SOCKET_PATH}: set XDG_STATE_HOME to a shorter directory`,
      );
    }
    return path;
  }

  stateDir(node: NodeName): string {
    return join(this.directory, node, 'state');
  }

  /** Directory of the node's network configurations, /etc/cni/net.d on a real one. */
  netDir(node: NodeName): string {
    return join(this.directory, node, 'net.d');
  }

  /** Network namespace of the switches that join the nodes. */
  get fabricNamespace(): string {
    return `${this.prefix}fabric`;
  }

  nodeNamespace(node: NodeName): string {
    return `${this.prefix}${node}`;
  }

  podNamespace(pod: string): string {
    return `${this.prefix}pod-${pod}`;
  }

  /** `name` of the CNI network configuration. */
  cniNetwork(link: LinkName): string {
    return `${this.prefix}${link}`;
  }
}

/**
 * The places of this user: `${XDG_STATE_HOME:-~/.local/state}/berth/quickstart`. Names begin with `berth-qs-`;
 * BERTH_QUICKSTART_PREFIX changes that, so that a test can run beside a person's quickstart.
 * @throws Error for a prefix that cannot begin a name
 */
export function placesOf(env: NodeJS.ProcessEnv = process.env): Places {
  const base = env['XDG_STATE_HOME'];
  const home = env['HOME'] ?? homedir();
  const state = base === undefined || base === '' ? join(home, '.local/state') : base;
  const prefix = env['BERTH_QUICKSTART_PREFIX'] ?? 'berth-qs-';
  if (!/^[a-z][a-z0-9-]{2,30}-$/.test(prefix)) {
    throw new Error(
      `BERTH_QUICKSTART_PREFIX is ${JSON.stringify(prefix)}: use lower-case letters, digits and "-", with "-" at the end`,
    );
  }
  return new Places(join(state, 'berth', 'quickstart'), prefix);
}

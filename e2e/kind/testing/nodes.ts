/** Acting on the machines behind Node objects: as root, in the node's own namespaces. */
import { RunError } from '../../controlplane/run.ts';
import { waitFor } from '../../harness/wait.ts';
import type { Docker } from '../docker.ts';
import { nodeAddresses, stretch } from '../network.ts';

/** The nodes of a cluster. */
export interface Nodes {
  /** All of them, sorted. */
  readonly names: readonly string[];
  /** Runs a shell line on a node and gives what it says. */
  shell(node: string, line: string): Promise<string>;
  /** Restarts the machine, without a word to its pods. */
  reboot(node: string): Promise<void>;
}

/** Nodes that are containers. */
export class DockerNodes implements Nodes {
  readonly names: readonly string[];
  readonly #docker: Docker;

  constructor(docker: Docker, names: readonly string[]) {
    this.#docker = docker;
    this.names = names;
  }

  shell(node: string, line: string): Promise<string> {
    return this.#docker.shell(node, line);
  }

  async reboot(node: string): Promise<void> {
    await this.#docker.run(['restart', node]);
    // Routes and bridges were lost, and the address may be another one.
    await stretch(this.#docker, await nodeAddresses(this.#docker, this.names));
  }
}

/** Which start of the machine this is: a node that is a container shares its kernel's boot with others. */
const WHICH_START = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat";

/** A shell line that runs another one a second later: a connection through the API server does not survive what that does. */
export function detached(line: string): string {
  return `nohup sh -c "sleep 1; ${line}" >/dev/null 2>&1 &`;
}

/** Nodes of which nothing is known but that they run pods: a privileged pod on each enters its first process. */
export class PodNodes implements Nodes {
  readonly names: readonly string[];
  readonly #kubectl: (args: readonly string[], input?: string) => Promise<string>;
  readonly #image: string;
  readonly #ready = new Map<string, Promise<string>>();

  constructor(
    kubectl: (args: readonly string[], input?: string) => Promise<string>,
    names: readonly string[],
    image: string,
  ) {
    this.#kubectl = kubectl;
    this.names = names;
    this.#image = image;
  }

  async shell(node: string, line: string): Promise<string> {
    try {
      return await this.#enter(node, line);
    } catch (error) {
      // Drained with all others.
      if (!(error instanceof RunError && /NotFound/.test(error.stderr))) throw error;
      this.#ready.delete(node);
      return this.#enter(node, line);
    }
  }

  async #enter(node: string, line: string): Promise<string> {
    let ready = this.#ready.get(node);
    if (ready === undefined) {
      ready = this.#start(node);
      this.#ready.set(node, ready);
    }
    // By its path: a busybox that prefers its own applets would run itself, and all that the line names.
    const shell = ['/bin/sh', '-ec', line];
    const enter = ['nsenter', '--target', '1', '--mount', '--net', '--ipc', '--uts', '--', ...shell];
    return this.#kubectl(['exec', '--namespace=kube-system', await ready, '--', 'busybox', ...enter]);
  }

  async reboot(node: string): Promise<void> {
    const before = await this.shell(node, WHICH_START);
    await this.shell(node, detached('systemctl reboot'));
    await waitFor(`${node} has restarted`, async () => (await this.shell(node, WHICH_START)) !== before, {
      timeoutMs: 600_000,
      everyMs: 2_000,
    });
  }

  async #start(node: string): Promise<string> {
    const name = `berth-e2e-${node}`;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'kube-system', labels: { app: 'berth-e2e-node' } },
      spec: {
        nodeName: node,
        hostPID: true,
        hostNetwork: true,
        terminationGracePeriodSeconds: 1,
        tolerations: [{ operator: 'Exists' }],
        containers: [
          {
            name: 'main',
            image: this.#image,
            imagePullPolicy: 'IfNotPresent',
            command: ['busybox', 'sleep', '1000000'],
            securityContext: { privileged: true },
          },
        ],
      },
    };
    await this.#kubectl(['apply', '--filename=-'], JSON.stringify(pod));
    await this.#kubectl([
      'wait',
      '--namespace=kube-system',
      '--for=condition=Ready',
      `pod/${name}`,
      '--timeout=120s',
    ]);
    return name;
  }
}

/**
 * What Multus (v4) makes of a pod's annotations: which networks, on which interfaces, and what their plugins get.
 * So much of it as docs/using.md needs; tests of the real one are in e2e/.
 */

/** A pod's annotations and where it is. */
export interface AnnotatedPod {
  readonly namespace: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** An element of `k8s.v1.cni.cncf.io/networks` in its JSON form (Network Plumbing WG, "Network Selection Elements"). */
interface Selection {
  readonly name: string;
  readonly namespace?: string;
  readonly interface?: string;
  readonly ips?: readonly string[];
  readonly 'cni-args'?: Readonly<Record<string, unknown>>;
}

/** What one plugin call is made with: the configuration on stdin, and what is added to CNI_ARGS. */
export interface Attachment {
  readonly ifname: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly args: Readonly<Record<string, string>>;
}

/** `spec.config` of a NetworkAttachmentDefinition. */
export type Definitions = (namespace: string, name: string) => Promise<string>;

/** The comma list, `namespace/name@interface` each, or JSON. */
function selections(annotation: string): Selection[] {
  // The JSON form is the pages' own, which the reader above describes.
  if (/[[{"]/.test(annotation)) return JSON.parse(annotation) as Selection[];
  return annotation.split(',').map((item) => {
    const [, namespace, name = '', ifname] = /^\s*(?:(.+)\/)?([^/@]+)(?:@(.+?))?\s*$/.exec(item) ?? [];
    return {
      name,
      ...(namespace !== undefined && { namespace }),
      ...(ifname !== undefined && { interface: ifname }),
    };
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The configuration as the main plugin gets it, and hands it on to `berth`. */
function delegated(source: string, { ips, 'cni-args': cniArgs }: Selection): Record<string, unknown> {
  // A definition holds a CNI configuration, which is an object; anything else fails where it is used.
  const config = JSON.parse(source) as Record<string, unknown>;
  const capabilities = isRecord(config['capabilities']) ? config['capabilities'] : {};
  const args = isRecord(config['args']) ? config['args'] : {};
  return {
    ...config,
    // libcni passes what the configuration has the capability for.
    ...(ips !== undefined && capabilities['ips'] === true && { runtimeConfig: { ips } }),
    ...(cniArgs !== undefined && { args: { ...args, cni: cniArgs } }),
  };
}

/** The interfaces of the pod in the order in which Multus adds them. */
export async function attachmentsOf(pod: AnnotatedPod, definitions: Definitions): Promise<Attachment[]> {
  const found: Attachment[] = [];
  const attach = async (selection: Selection, ifname: string): Promise<void> => {
    const source = await definitions(selection.namespace ?? pod.namespace, selection.name);
    const { ips } = selection;
    found.push({
      ifname,
      config: delegated(source, selection),
      // Whether or not the configuration has the capability.
      args: ips === undefined ? {} : { IP: ips.join(',') },
    });
  };
  const [own] = selections(pod.annotations['v1.multus-cni.io/default-network'] ?? '');
  if (own !== undefined && own.name !== '') await attach(own, 'eth0');
  const networks = pod.annotations['k8s.v1.cni.cncf.io/networks'];
  const selected = networks === undefined ? [] : selections(networks);
  for (const [i, selection] of selected.entries()) {
    await attach(selection, selection.interface ?? `net${i + 1}`);
  }
  return found;
}

/** The promise that holds after every scenario: at rest, Bound reservations are pods' interfaces, exactly. */
import { ipPools } from '../../../crds/resources.ts';
import { parseAddress } from '../../../ipam/address.ts';
import { cidrContains, parseCidr } from '../../../ipam/cidr.ts';
import { waitFor } from '../../harness/wait.ts';
import { PATIENCE_MS, type TestPod, testPods, type World } from './world.ts';

/** Every pod's network namespace, as the kernel has it: neither the API server nor Berth is asked. */
const LIST_INTERFACES =
  'for ns in /run/netns/*; do [ -e "$ns" ] || continue; nsenter --net="$ns" ip -json address show; echo; done';

interface Link {
  readonly ifname: string;
  readonly addr_info: readonly { readonly scope: string; readonly local: string }[];
}

/** `<node> <address>` of each address of a pod's interface in one of Berth's pools, sorted. */
export async function interfaces(world: World): Promise<string[]> {
  const pools = (await world.api.list(ipPools)).items.map(({ spec }) => parseCidr(spec.subnet));
  const found = await Promise.all(
    world.nodes.names.map(async (node) => {
      const lines = (await world.nodes.shell(node, LIST_INTERFACES))
        .split('\n')
        .filter((line) => line !== '');
      // `ip -json` prints one array for each namespace.
      const links = lines.flatMap((line) => JSON.parse(line) as Link[]);
      return links
        .flatMap(({ addr_info }) => addr_info)
        .filter(
          ({ scope, local }) =>
            scope === 'global' && pools.some((pool) => cidrContains(pool, parseAddress(local))),
        )
        .map(({ local }) => `${node} ${local}`);
    }),
  );
  return found.flat().toSorted();
}

/** `<node> <address>` of each Bound reservation, sorted. */
export async function reservations(world: World): Promise<string[]> {
  const bound = await world.bound();
  return bound.map(({ spec }) => `${spec.owner?.node ?? '?'} ${spec.address}`).toSorted();
}

function difference(of: readonly string[], than: readonly string[]): string[] {
  const have = new Set(than);
  return of.filter((each) => !have.has(each));
}

/** What is wrong with the pods' own view: addresses in status that are not reserved for this very pod. */
async function strangers(world: World): Promise<string[]> {
  const owners = new Map((await world.bound()).map(({ spec }) => [spec.address, spec.owner?.uid]));
  const { items } = await world.api.list(testPods);
  const ours = (pod: TestPod): boolean =>
    world.own && pod.spec?.hostNetwork !== true && pod.status?.phase === 'Running';
  return items
    .filter(ours)
    .flatMap(({ metadata, status }) =>
      (status?.podIPs ?? [])
        .filter(({ ip }) => owners.get(ip) !== metadata.uid)
        .map(
          ({ ip }) =>
            `${metadata.namespace}/${metadata.name} has ${ip}, which is reserved for ${owners.get(ip)}`,
        ),
    );
}

/**
 * Waits until reservations and interfaces are the same.
 * @returns how many there are
 * @throws Error that names what is only here or only there
 */
export async function atRest(world: World): Promise<number> {
  let wrong: string[] = [];
  let count = 0;
  await waitFor(
    'reservations are pod interfaces, exactly',
    async () => {
      const [made, reserved] = [await interfaces(world), await reservations(world)];
      wrong = [
        ...difference(made, reserved).map((each) => `interface without a reservation: ${each}`),
        ...difference(reserved, made).map((each) => `reservation without an interface: ${each}`),
        ...(await strangers(world)),
      ];
      count = reserved.length;
      // Twice the same address would make the lists differ in length alone.
      return wrong.length === 0 && made.length === reserved.length;
    },
    { timeoutMs: PATIENCE_MS, everyMs: 1_000, onTimeout: () => wrong.join('\n') },
  );
  return count;
}

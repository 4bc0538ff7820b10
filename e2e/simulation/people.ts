/** Reservations that no agent makes. */
import { API_VERSION, ipReservations } from '../../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { formatSince } from '../../ipam/reservation.ts';
import type { Clock } from '../../kube/clock.ts';
import { NAMESPACE, type Oracle } from './oracle.ts';
import { addressOf } from './schedule.ts';
import type { ApiServer } from './server.ts';

/** What of a cluster they need. */
interface Place {
  readonly server: ApiServer;
  readonly oracle: Oracle;
  readonly time: Clock;
  newContainer(): string;
}

function reservation(address: string, spec: Partial<IPReservationSpec>): IPReservation {
  return {
    apiVersion: API_VERSION,
    kind: 'IPReservation',
    metadata: { name: reservationName('default', parseAddress(address)) },
    spec: { network: 'default', address, pool: 'v4', state: 'Held', ...spec },
  };
}

/** A person keeps the address with this last byte. */
export async function keepAddress(
  { server, oracle }: Place,
  last: number,
  spec: Partial<IPReservationSpec>,
): Promise<void> {
  const { metadata } = await server.memory.create(ipReservations, reservation(addressOf('v4', last), spec));
  oracle.personMade(metadata.name ?? '', spec);
}

/** A live pod gets a second reservation, in the name of a sandbox that no journal remembers. */
export async function leaveOver(place: Place, name: string): Promise<void> {
  const { server, oracle, time } = place;
  const sandbox = [...oracle.live.values()].find(({ pod }) => pod.name === name);
  const taken = new Set(server.memory.objects(ipReservations).map(({ spec }) => spec.address));
  const address = [...oracle.usable].find((each) => each.includes('.') && !taken.has(each));
  if (sandbox === undefined || address === undefined || !oracle.isProtected(sandbox)) return;
  const { uid, node } = sandbox.pod;
  const owner = {
    kind: 'Pod',
    namespace: NAMESPACE,
    name,
    uid,
    node,
    containerID: place.newContainer(),
    ifname: 'net1',
    cniNetwork: 'storage',
  } as const;
  const since = formatSince(time.now());
  oracle.promiseNothing((promised) => promised.pod === sandbox.pod);
  await server.memory.create(ipReservations, reservation(address, { state: 'Bound', owner, since }));
}

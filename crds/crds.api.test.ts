import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { RunError } from '../e2e/controlplane/run.ts';
import { formatAddress } from '../ipam/address.ts';
import { compilePool } from '../ipam/pool.ts';
import { connect } from '../kube/client.ts';
import { API_VERSION, ipPools, ipReservations, POOL_COLUMNS, RESERVATION_COLUMNS } from './resources.ts';
import { reservationRowDecoder } from './row.ts';
import { acceptedPools } from './testing/acceptedpools.ts';
import { acceptedReservations } from './testing/acceptedreservations.ts';
import type { Refusals } from './testing/case.ts';
import { refusedAddresses } from './testing/refusedaddresses.ts';
import { refusedOwners } from './testing/refusedowners.ts';
import { refusedRanges } from './testing/refusedranges.ts';
import { refusedSettings } from './testing/refusedsettings.ts';
import { refusedSubnets } from './testing/refusedsubnets.ts';
import type { IPPool, IPReservationSpec, ReservationOwner } from './types.ts';

const poolCases = [...acceptedPools, ...refusedSubnets, ...refusedRanges, ...refusedSettings];
const reservationCases = [...acceptedReservations, ...refusedAddresses, ...refusedOwners];

let controlPlane: ControlPlane;

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'crds' });
  await controlPlane.applyCrds();
});

afterAll(async () => {
  await controlPlane?.stop();
});

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: object;
}

function manifest(kind: string, name: string, spec: object): Manifest {
  return { apiVersion: API_VERSION, kind, metadata: { name }, spec };
}

function kubectl(args: readonly string[], object?: Manifest): Promise<string> {
  return controlPlane.kubectl(args, object === undefined ? undefined : JSON.stringify(object));
}

/** The causes that kubectl prints of a refused object, each "<field>: <text>"; none if it is accepted. */
async function causesOf(verb: 'create' | 'replace', object: Manifest): Promise<string[]> {
  try {
    await kubectl([verb, '--dry-run=server', '-f', '-'], object);
    return [];
  } catch (error) {
    if (!(error instanceof RunError)) throw error;
    const text = error.stderr.trim();
    const start = text.indexOf(' is invalid: ');
    if (start < 0) throw error;
    const causes = text.slice(start + ' is invalid: '.length);
    const all = causes.startsWith('\n* ') ? causes.slice(3).split('\n* ') : [causes];
    // What follows from another cause: a type or length that is wrong stops the rules.
    return all.filter((cause) => !cause.includes('some validation rules were not checked'));
  }
}

/** Every cause is expected and every expectation has its cause. */
function expectCauses(causes: readonly string[], refused: Refusals = {}): void {
  const expected = Object.entries(refused).flatMap(([field, messages]) =>
    [messages].flat().map((message) => ({ field, message })),
  );
  expect(causes.map((cause) => cause.slice(0, cause.indexOf(': '))).toSorted(), causes.join('\n')).toEqual(
    expected.map(({ field }) => field).toSorted(),
  );
  for (const { field, message } of expected) {
    expect(causes.filter((cause) => cause.startsWith(`${field}: `)).join('\n')).toContain(message);
  }
}

/** Tries a change of an object that is there, or a new object; leaves nothing behind. */
async function tryOut(before: object | undefined, after: Manifest): Promise<string[]> {
  if (before === undefined) return causesOf('create', after);
  await kubectl(['create', '-f', '-'], { ...after, spec: before });
  try {
    return await causesOf('replace', after);
  } finally {
    await kubectl(['delete', '--wait=false', '-f', '-'], after);
  }
}

describe('pools that the API server accepts and refuses', () => {
  test.each(poolCases)('$rule', async ({ name = 't', spec, before, refused }) => {
    expectCauses(await tryOut(before, manifest('IPPool', name, spec)), refused);
  });

  test('the domain compiles every pool that the API server accepts', () => {
    for (const { spec, refused } of poolCases) {
      // Accepted, so it has the shape of the type.
      if (refused === undefined) expect(() => compilePool('t', spec as IPPool['spec'])).not.toThrow();
    }
  });
});

describe('ends of ranges are compared as the domain compares them', () => {
  /** Addresses that often share their beginning and have many zeros, as numbers of `bits` bits. */
  const address = (bits: number, part: number): fc.Arbitrary<bigint> =>
    fc
      .array(fc.oneof(fc.constantFrom(0n, 1n, 9n, 10n, 0xffn), fc.bigInt(0n, (1n << BigInt(part)) - 1n)), {
        minLength: bits / part,
        maxLength: bits / part,
      })
      .map((parts) => parts.reduce((value, next) => (value << BigInt(part)) | next, 0n));

  test.each([
    { family: 4, subnet: '0.0.0.0/0', bits: 32, part: 8 },
    { family: 6, subnet: '::/0', bits: 128, part: 16 },
  ] as const)('IPv$family', async ({ family, subnet, bits, part }) => {
    const pair = fc.tuple(address(bits, part), address(bits, part), fc.nat(bits)).map(
      // The second end shares its first `shared` bits with the first.
      ([a, b, shared]) =>
        [
          a,
          ((a >> BigInt(bits - shared)) << BigInt(bits - shared)) |
            (b & ((1n << BigInt(bits - shared)) - 1n)),
        ] as const,
    );
    for (const pairs of fc.sample(fc.array(pair, { minLength: 64, maxLength: 64 }), 5)) {
      const ranges = pairs.map((ends) => ends.map((value) => formatAddress({ family, value })).join('-'));
      const causes = await causesOf('create', manifest('IPPool', 't', { subnet, ranges }));
      const inverted = pairs.flatMap(([first, last], i) =>
        first > last
          ? [`spec.ranges[${i}]: Invalid value: "${ranges[i]}": first must not be after last: swap them`]
          : [],
      );
      expect(causes.toSorted()).toEqual(inverted.toSorted());
    }
  });
});

describe('reservations that the API server accepts and refuses', () => {
  test.each(reservationCases)('$rule', async ({ name, spec, before, refused }) => {
    const fallback = `${String(spec.network)}.${String(spec.address)}`;
    expectCauses(await tryOut(before, manifest('IPReservation', name ?? fallback, spec)), refused);
  });
});

describe('what the API server makes of the kinds', () => {
  const owner: ReservationOwner = {
    kind: 'Pod',
    namespace: 'shop',
    name: 'web-1',
    node: 'n1',
    uid: 'u1',
    containerID: 'c1',
    ifname: 'net1',
  };
  const specs: IPReservationSpec[] = [
    {
      network: 'sel',
      address: '10.9.0.1',
      pool: 'a',
      state: 'Bound',
      owner,
      holder: 'Pod/shop/web-1',
      since: '2026-01-31T10:00:00Z',
    },
    {
      network: 'sel',
      address: '10.9.0.2',
      pool: 'b',
      state: 'Released',
      owner: { ...owner, name: 'web-2', node: 'n2', uid: 'u2', containerID: 'c2' },
    },
    { network: 'sel', address: '10.9.0.3', pool: 'b', state: 'Held', holder: 'Pod/shop/vip' },
  ];
  const reservations = specs.map((spec) => ({ metadata: { name: `sel.${spec.address}` }, spec }));

  beforeAll(async () => {
    for (const { metadata, spec } of reservations)
      await kubectl(['create', '-f', '-'], manifest('IPReservation', metadata.name, spec));
    await kubectl(
      ['create', '-f', '-'],
      manifest('IPPool', 'first', { network: 'sel', subnet: '10.9.0.0/24', gateway: '10.9.0.254' }),
    );
    await kubectl(['create', '-f', '-'], manifest('IPPool', 'second', { subnet: '10.9.0.0/24' }));
  });

  test.each([
    ['spec.network=sel', ['1', '2', '3']],
    ['spec.network=other', []],
    ['spec.pool=b', ['2', '3']],
    ['spec.state=Held', ['3']],
    ['spec.owner.node=n1', ['1']],
    ['spec.owner.uid=u2', ['2']],
    ['spec.owner.containerID=c1', ['1']],
    ['spec.holder=Pod/shop/vip', ['3']],
    ['spec.pool=b,spec.state=Released', ['2']],
    ['spec.owner.node!=n1,spec.network=sel', ['2', '3']],
  ])('field selector %s selects', async (selector, expected) => {
    const names = await kubectl([
      'get',
      'ipreservations',
      '--field-selector',
      selector,
      '-o',
      'jsonpath={.items[*].metadata.name}',
    ]);
    expect(names.split(' ').filter((name) => name !== '')).toEqual(
      expected.map((last) => `sel.10.9.0.${last}`),
    );
  });

  test('a pool is selected by its network', async () => {
    expect(await kubectl(['get', 'ippools', '--field-selector', 'spec.network=sel', '-o', 'name'])).toBe(
      'ippool.ipam.berth.dev/first\n',
    );
  });

  test('defaults are filled in', async () => {
    const { spec } = JSON.parse(await kubectl(['get', 'ippool', 'second', '-o', 'json'])) as IPPool;
    expect(spec).toEqual({
      network: 'default',
      subnet: '10.9.0.0/24',
      default: false,
      disabled: false,
      staticRequests: 'Allow',
      cooldown: '30s',
      allocation: 'Random',
    });
  });

  const header = async (...args: string[]): Promise<string[]> => {
    const [first = ''] = (await kubectl(['get', ...args])).split('\n');
    return first.trim().split(/\s+/);
  };
  const upper = (columns: readonly string[]): string[] => columns.map((column) => column.toUpperCase());

  test('columns of reservations, in order, the wide ones at the end', async () => {
    expect(await header('ipr')).toEqual(upper(RESERVATION_COLUMNS.slice(0, 9)));
    expect(await header('ipr', '-o', 'wide')).toEqual(upper(RESERVATION_COLUMNS));
  });

  test('columns of pools, in order, the wide ones at the end', async () => {
    expect(await header('ipp')).toEqual(upper(POOL_COLUMNS.slice(0, 8)));
    expect(await header('ipp', '-o', 'wide')).toEqual(upper(POOL_COLUMNS));
  });

  test('a Table from the API layer decodes to what the reservations say', async () => {
    const api = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'crds-test' });
    try {
      const { columns, rows } = await api.listTable(ipReservations, { fieldSelector: 'spec.network=sel' });
      const decode = reservationRowDecoder(columns);
      expect(rows.map(decode)).toEqual(
        reservations.map(({ metadata, spec }) => {
          const { kind: _kind, ...shown } = spec.owner ?? { kind: 'External' };
          return { name: metadata.name, ...spec, owner: shown };
        }),
      );
      expect(columns).toEqual(RESERVATION_COLUMNS);
      expect((await api.listTable(ipPools)).columns).toEqual(POOL_COLUMNS);
    } finally {
      await api.close();
    }
  });

  test('the category lists both kinds', async () => {
    const names = await kubectl(['get', 'berth', '-o', 'name']);
    expect(names).toContain('ippool.ipam.berth.dev/first\n');
    expect(names).toContain('ipreservation.ipam.berth.dev/sel.10.9.0.1\n');
  });

  test('managedFields has one entry for spec, whatever it contains', async () => {
    const { metadata } = JSON.parse(
      await kubectl(['get', 'ipr', 'sel.10.9.0.1', '--show-managed-fields', '-o', 'json']),
    ) as { metadata: { managedFields: { fieldsV1: Record<string, unknown> }[] } };
    expect(metadata.managedFields.map((entry) => entry.fieldsV1)).toEqual([{ 'f:spec': {} }]);
  });

  test('a change of status leaves the spec and its generation alone', async () => {
    const status = {
      capacity: '340282366920938463463374607431768211456',
      holders: [{ holder: 'Pod/shop/vip', address: '10.9.0.3' }],
    };
    await kubectl([
      'patch',
      'ippool',
      'first',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status, spec: { disabled: true } }),
    ]);
    const pool = JSON.parse(await kubectl(['get', 'ippool', 'first', '-o', 'json'])) as IPPool;
    expect(pool.status).toEqual(status);
    expect(pool.spec.disabled).toBe(false);
    expect(pool.metadata.generation).toBe(1);
  });

  test('a count that is no decimal number is refused', async () => {
    const patch = [
      'patch',
      'ippool',
      'first',
      '--subresource=status',
      '--type=merge',
      '-p',
      '{"status":{"free":"-1"}}',
    ];
    await expect(kubectl(patch)).rejects.toThrow('status.free');
  });

  test('kubectl explain describes a field', async () => {
    expect(await kubectl(['explain', 'ipr.spec.owner.uid'])).toContain('K8S_POD_UID');
  });

  test('kubectl apply takes the CRDs as well as --server-side', async () => {
    for (const file of ['ippool.yaml', 'ipreservation.yaml']) {
      const path = `${import.meta.dirname}/${file}`;
      expect(await kubectl(['apply', '--dry-run=server', '-f', path])).toContain('configured');
      expect(await kubectl(['apply', '--server-side', '-f', path])).toContain('serverside-applied');
    }
  });
});

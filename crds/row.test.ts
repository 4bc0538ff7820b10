import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RESERVATION_COLUMNS } from './resources.ts';
import { type ReservationRow, reservationFromRow, reservationRowDecoder } from './row.ts';
import { bound } from './testing/examples.ts';

/** The cells that the API server makes of a row: null for what is absent. */
function encode(row: ReservationRow, columns: readonly string[] = RESERVATION_COLUMNS): unknown[] {
  const cells: Readonly<Record<string, string | undefined>> = {
    Name: row.name,
    Address: row.address,
    Pool: row.pool,
    State: row.state,
    Namespace: row.owner.namespace,
    Owner: row.owner.name,
    Node: row.owner.node,
    Interface: row.owner.ifname,
    Age: '5m',
    Since: row.since,
    Holder: row.holder,
    Network: row.network,
    UID: row.owner.uid,
    Container: row.owner.containerID,
  };
  return columns.map((column) => cells[column] ?? null);
}

const text = fc.string({ minLength: 1 });
const rows: fc.Arbitrary<ReservationRow> = fc.record(
  {
    name: text,
    network: text,
    address: text,
    pool: text,
    state: fc.constantFrom('Bound', 'Released', 'Held'),
    owner: fc.record(
      { namespace: text, name: text, node: text, ifname: text, uid: text, containerID: text },
      { requiredKeys: [], noNullPrototype: true },
    ),
    holder: text,
    since: text,
  },
  { requiredKeys: ['name', 'network', 'address', 'pool', 'state', 'owner'], noNullPrototype: true },
);

const example: ReservationRow = {
  name: 'storage.10.20.1.7',
  network: 'storage',
  address: '10.20.1.7',
  pool: 'storage-v4',
  state: 'Bound',
  since: '2026-01-31T10:00:00Z',
  owner: {
    namespace: 'shop',
    name: 'web',
    node: 'worker-3',
    ifname: 'net1',
    uid: '3f0c',
    containerID: '9a1f',
  },
};

describe('reservationFromRow', () => {
  test('every field comes back from the row that shows it, in whatever order the columns are', () => {
    fc.assert(
      fc.property(
        rows,
        fc.shuffledSubarray([...RESERVATION_COLUMNS], { minLength: RESERVATION_COLUMNS.length }),
        (row, columns) => {
          expect(reservationFromRow(columns, encode(row, columns))).toEqual(row);
        },
      ),
    );
  });

  test('what the owner has beyond the columns is all that a row leaves out of a Bound reservation', () => {
    const { kind: _kind, cniNetwork: _cniNetwork, ...shown } = bound.owner ?? { kind: 'Pod' };
    const row = { ...bound, name: 'storage.10.20.1.7', owner: shown };
    expect(reservationFromRow(RESERVATION_COLUMNS, encode(row))).toEqual(row);
  });

  test('columns that only add to a row may be missing', () => {
    const columns = ['Name', 'Address', 'Pool', 'State', 'Network'];
    const { since: _since, ...rest } = example;
    expect(reservationFromRow(columns, encode(example, columns))).toEqual({ ...rest, owner: {} });
  });

  test.each(['Name', 'Address', 'Pool', 'State', 'Network'])(
    'a table without column %s is refused by name',
    (missing) => {
      const columns = RESERVATION_COLUMNS.filter((column) => column !== missing);
      expect(() => reservationRowDecoder(columns)).toThrow(`no column "${missing}"`);
    },
  );

  test.each(['Name', 'Address', 'Pool', 'State', 'Network'])(
    'an empty cell in column %s is refused by name',
    (column) => {
      const row = encode(example).map((cell, i) => (RESERVATION_COLUMNS[i] === column ? null : cell));
      expect(() => reservationFromRow(RESERVATION_COLUMNS, row)).toThrow(`column "${column}"`);
    },
  );

  test('a cell that is no text is refused with its value', () => {
    const row = encode(example).map((cell, i) => (RESERVATION_COLUMNS[i] === 'UID' ? 7 : cell));
    expect(() => reservationFromRow(RESERVATION_COLUMNS, row)).toThrow('column "UID" of a reservation is 7');
  });

  test('an unknown state is refused with the name of the reservation', () => {
    const row = encode(example).map((cell) => (cell === 'Bound' ? 'Lost' : cell));
    expect(() => reservationFromRow(RESERVATION_COLUMNS, row)).toThrow(
      'state "Lost" of reservation "storage.10.20.1.7" is none of Bound, Released and Held',
    );
  });
});

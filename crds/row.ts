/**
 * Reservations read from a Table (`includeObject=None`): the cheapest way to read many.
 *
 * - A row carries what its printer columns show, so neither uid, resourceVersion nor the owner's kind:
 *   read the object before a guarded write.
 * - Columns are found by name, so that a server with an older or newer CRD is understood as long as the columns
 *   that a row cannot do without are there.
 */
import type { IPReservationSpec, ReservationOwner } from './types.ts';

/** What a row says about the owner; all absent when the reservation has none. */
export type RowOwner = Pick<
  ReservationOwner,
  'namespace' | 'name' | 'node' | 'ifname' | 'uid' | 'containerID'
>;

/** One reservation as a Table shows it. */
export interface ReservationRow {
  /** `metadata.name`: `<network>.<address>`. */
  readonly name: string;
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly state: IPReservationSpec['state'];
  readonly holder?: string;
  readonly since?: string;
  readonly owner: RowOwner;
}

/** Turns one row of a Table into a reservation; throws what `reservationFromRow` throws. */
export type RowDecoder = (row: readonly unknown[]) => ReservationRow;

/**
 * A decoder for the rows of a Table with these columns; it looks the columns up once.
 * @throws Error that names a column without which no row can be read.
 */
export function reservationRowDecoder(columns: readonly string[]): RowDecoder {
  const required = (column: string): number => {
    const index = columns.indexOf(column);
    if (index < 0) {
      throw new Error(
        `the table of reservations has no column "${column}" (it has ${columns.join(', ')}): apply the CRDs of this version of Berth`,
      );
    }
    return index;
  };
  const name = required('Name');
  const network = required('Network');
  const address = required('Address');
  const pool = required('Pool');
  const state = required('State');
  const holder = columns.indexOf('Holder');
  const since = columns.indexOf('Since');
  const ownerFields = Object.entries(ownerColumns).map(([field, column]) => ({
    field,
    column,
    index: columns.indexOf(column),
  }));
  return (row) => {
    const cell = { row, name: text(row, name, 'Name') ?? '' };
    const owner: Record<string, string> = {};
    for (const { field, column, index } of ownerFields) {
      const value = text(row, index, column);
      if (value !== undefined) owner[field] = value;
    }
    const holderText = text(row, holder, 'Holder');
    const sinceText = text(row, since, 'Since');
    return {
      name: mandatory(cell, name, 'Name'),
      network: mandatory(cell, network, 'Network'),
      address: mandatory(cell, address, 'Address'),
      pool: mandatory(cell, pool, 'Pool'),
      state: stateOf(mandatory(cell, state, 'State'), cell.name),
      ...(holderText === undefined ? {} : { holder: holderText }),
      ...(sinceText === undefined ? {} : { since: sinceText }),
      owner,
    };
  };
}

/**
 * One row of a Table with these columns. For many rows make a `reservationRowDecoder`.
 * @throws Error that names the column (and the row) if one that is needed is missing or no text, or if the state is unknown.
 */
export function reservationFromRow(columns: readonly string[], row: readonly unknown[]): ReservationRow {
  return reservationRowDecoder(columns)(row);
}

const ownerColumns: Readonly<Record<keyof RowOwner, string>> = {
  namespace: 'Namespace',
  name: 'Owner',
  node: 'Node',
  ifname: 'Interface',
  uid: 'UID',
  containerID: 'Container',
};

/** The text of a cell; undefined for an absent column and for an empty cell (the API server sends null). */
function text(row: readonly unknown[], index: number, column: string): string | undefined {
  const value = index < 0 ? undefined : row[index];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') {
    throw new Error(`column "${column}" of a reservation is ${JSON.stringify(value)}, expected text`);
  }
  return value;
}

function mandatory(cell: { row: readonly unknown[]; name: string }, index: number, column: string): string {
  const value = text(cell.row, index, column);
  if (value === undefined) throw new Error(`column "${column}" of reservation "${cell.name}" is empty`);
  return value;
}

function stateOf(value: string, name: string): IPReservationSpec['state'] {
  if (value === 'Bound' || value === 'Released' || value === 'Held') return value;
  throw new Error(`state "${value}" of reservation "${name}" is none of Bound, Released and Held`);
}

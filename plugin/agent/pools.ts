/** The pools as this agent's watch has them, compiled once per change. */

import { decodeOccupancy, type Hint } from '../../crds/occupancy.ts';
import { FINALIZER_IN_USE } from '../../crds/resources.ts';
import type { HeldAddress, IPPool, Occupancy } from '../../crds/types.ts';
import { type Family, isCanonicalAddress } from '../../ipam/address.ts';
import { parseCidr } from '../../ipam/cidr.ts';
import { IpamError } from '../../ipam/errors.ts';
import { compilePool, type Pool } from '../../ipam/pool.ts';

/** One IPPool, as far as serving an ADD is concerned. */
export interface PoolEntry {
  readonly name: string;
  readonly network: string;
  readonly isDefault: boolean;
  /** undefined where not even the subnet can be understood. */
  readonly family: Family | undefined;
  /** undefined where the specification cannot be understood; `invalid` then says why. */
  readonly pool: Pool | undefined;
  readonly invalid: string | undefined;
  readonly ready: 'True' | 'False' | 'Unknown';
  readonly readyMessage: string;
  /** The operator keeps the pool from vanishing under its addresses. */
  readonly hasFinalizer: boolean;
  readonly deleting: boolean;
  /** Holder to the addresses that are held for it. */
  readonly heldFor: ReadonlyMap<string, readonly string[]>;
  /** There are more of them than the operator lists. */
  readonly heldForTruncated: boolean;
}

function compile({ metadata, spec }: IPPool): Pick<PoolEntry, 'pool' | 'invalid' | 'family'> {
  try {
    const pool = compilePool(metadata.name ?? '', spec);
    return { pool, invalid: undefined, family: pool.family };
  } catch (error) {
    if (error instanceof IpamError) {
      return { pool: undefined, invalid: error.message, family: familyOf(spec.subnet) };
    }
    throw error;
  }
}

function familyOf(subnet: string): Family | undefined {
  try {
    return parseCidr(subnet).family;
  } catch (error) {
    if (error instanceof IpamError) {
      return undefined;
    }
    throw error;
  }
}

/** By holder; what is no address is passed over. */
function heldAddresses(held: readonly HeldAddress[]): Map<string, string[]> {
  const addresses = new Map<string, string[]>();
  for (const { holder, address } of held) {
    if (isCanonicalAddress(address)) {
      addresses.set(holder, [...(addresses.get(holder) ?? []), address]);
    }
  }
  return addresses;
}

/** Reads an IPPool. Never throws for what a pool may contain. */
export function poolEntry(object: IPPool): PoolEntry {
  const name = object.metadata.name ?? '';
  const condition = object.status?.conditions?.find((c) => c.type === 'Ready');
  return {
    name,
    network: object.spec.network ?? 'default',
    isDefault: object.spec.default ?? false,
    ...compile(object),
    ready: condition?.status ?? 'Unknown',
    readyMessage: condition?.message ?? 'the operator has not looked at it yet',
    hasFinalizer: object.metadata.finalizers?.includes(FINALIZER_IN_USE) ?? false,
    deleting: object.metadata.deletionTimestamp !== undefined,
    heldFor: heldAddresses(object.status?.holders ?? []),
    heldForTruncated: object.status?.holdersTruncated ?? false,
  };
}

/** All pools by name, fed by an informer's handlers. */
export class PoolTable {
  readonly #entries = new Map<string, PoolEntry>();
  readonly #hints = new Map<string, { readonly source: HintSource; readonly hint: Hint | undefined }>();
  readonly #onChange: (name: string, removed: PoolEntry | undefined) => void;

  /**
   * @param onChange is told of each pool whose object changed, its status included; of one that is gone, with its last
   *   entry
   */
  constructor(onChange: (name: string, removed: PoolEntry | undefined) => void) {
    this.#onChange = onChange;
  }

  get entries(): ReadonlyMap<string, PoolEntry> {
    return this.#entries;
  }

  set(object: IPPool): void {
    const entry = poolEntry(object);
    this.#entries.set(entry.name, entry);
    this.#readHint(object, entry);
    this.#onChange(entry.name, undefined);
  }

  delete(object: IPPool): void {
    const name = object.metadata.name ?? '';
    const entry = this.#entries.get(name);
    this.#entries.delete(name);
    this.#hints.delete(name);
    this.#onChange(name, entry);
  }

  /** The pool's hint, undefined if it has none that is of its present ranges. The same object until it changes. */
  hint(name: string): Hint | undefined {
    return this.#hints.get(name)?.hint;
  }

  /** Every pool that has a hint, and the time of it in milliseconds since the Unix epoch. */
  *hintTimes(): Generator<[pool: string, time: number]> {
    for (const [name, { hint }] of this.#hints) {
      if (hint !== undefined) {
        yield [name, hint.time];
      }
    }
  }

  #readHint({ metadata, status }: IPPool, { name, pool }: PoolEntry): void {
    // What the planes mean depends on the ranges: those of the spec that the status is about.
    const isOfThisSpec = metadata.generation === status?.observedGeneration;
    const source: HintSource = {
      uid: metadata.uid,
      generation: metadata.generation,
      field: isOfThisSpec ? status?.occupancy : undefined,
    };
    const known = this.#hints.get(name);
    if (known === undefined || !isSameSource(known.source, source)) {
      const hint = pool === undefined ? undefined : decodeOccupancy(source.field, pool.dynamic);
      this.#hints.set(name, { source, hint });
    }
  }

  /** Milliseconds that a released address of the pool rests; 0 for a pool that is gone (docs/reference/ippool.md). */
  cooldownMs(name: string): number {
    return this.#entries.get(name)?.pool?.cooldownMs ?? 0;
  }
}

/** What a hint was read from. */
interface HintSource {
  readonly uid: string | undefined;
  readonly generation: number | undefined;
  readonly field: Occupancy | undefined;
}

/** True if it need not be decoded again: a status changes more often than its hint. */
function isSameSource(a: HintSource, b: HintSource): boolean {
  return (
    a.uid === b.uid &&
    a.generation === b.generation &&
    a.field?.encoding === b.field?.encoding &&
    a.field?.time === b.field?.time &&
    a.field?.taken === b.field?.taken &&
    a.field?.released === b.field?.released
  );
}

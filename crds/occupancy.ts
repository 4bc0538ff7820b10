/**
 * `status.occupancy` of a pool, the hint: which addresses of its ranges are taken in the network, and which rest.
 *
 * - A plane is `AddressBitmap.plane` of the pool's `dynamic` addresses, DEFLATE (RFC 1951) and base64 (RFC 4648).
 *   What its bits mean depends on the ranges: read it only with the spec that `status.observedGeneration` is about.
 * - A hint is never the truth, and reading one never fails: what is not understood is no hint.
 * - Sizes are checked before anything is inflated, and inflating stops at the size that the ranges give.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { planeBytes } from '../ipam/bitmap.ts';
import type { RangeSet } from '../ipam/rangeset.ts';
import type { Occupancy } from './types.ts';

/** The only encoding there is; any other one means that there is no hint. */
export const OCCUPANCY_ENCODING = 'bitmap+deflate+base64';

/**
 * Most bytes of a plane: 524,288 addresses. Even a plane that does not compress then fits into the schema's field, and
 * a pool that is larger has so much room that guessing costs less than telling every agent.
 */
export const MAX_PLANE_BYTES = 65_536;

/** What a hint says. */
export interface Hint {
  /** Addresses of the ranges that have a reservation of any state and pool of the network. */
  readonly taken: Uint8Array;
  /** Those of them that are Released. The operator may leave out the ones that were released last. */
  readonly released: Uint8Array;
  /** When it was true, by the operator's clock, in milliseconds since the Unix epoch. */
  readonly time: number;
}

/** Whether a pool with these ranges can have a hint: not without ranges, and not with very large ones. */
export function mayHaveHint(dynamic: RangeSet): boolean {
  return !dynamic.isEmpty && planeBytes(dynamic) <= MAX_PLANE_BYTES;
}

/** The field that says so. The planes are those of ranges for which `mayHaveHint` is true. */
export function encodeOccupancy({ taken, released, time }: Hint): Occupancy {
  return {
    encoding: OCCUPANCY_ENCODING,
    taken: encodePlane(taken),
    released: encodePlane(released),
    time: new Date(time).toISOString(),
  };
}

/** What the field says of these ranges; undefined if it is absent or says nothing that can be understood. */
export function decodeOccupancy(field: Occupancy | undefined, dynamic: RangeSet): Hint | undefined {
  if (field?.encoding !== OCCUPANCY_ENCODING || !mayHaveHint(dynamic)) {
    return undefined;
  }
  const bytes = Number(planeBytes(dynamic));
  const taken = decodePlane(field.taken, bytes);
  const released = decodePlane(field.released, bytes);
  const time = Date.parse(field.time ?? '');
  return taken === undefined || released === undefined || Number.isNaN(time)
    ? undefined
    : { taken, released, time };
}

function encodePlane(plane: Uint8Array): string {
  return deflateRawSync(plane).toString('base64');
}

/** Characters of a plane at most: DEFLATE adds 5 bytes to each stored block of up to 65,535, base64 a third. */
function maxCharacters(bytes: number): number {
  return Math.ceil((bytes + 5 * (Math.ceil(bytes / 16_384) + 1)) / 3) * 4;
}

function decodePlane(text: string | undefined, bytes: number): Uint8Array | undefined {
  if (text === undefined || text.length > maxCharacters(bytes)) {
    return undefined;
  }
  try {
    const plane = inflateRawSync(Buffer.from(text, 'base64'), { maxOutputLength: bytes });
    return plane.length === bytes ? plane : undefined;
  } catch (error) {
    // zlib's way to say that it is not DEFLATE, is cut off or is longer than allowed.
    if (error instanceof Error && 'code' in error) {
      return undefined;
    }
    throw error;
  }
}

/**
 * RFC 6902 in its plainest form, for objects without arrays: an independent judge of the state machine's patches.
 * As the API server has it (kube/apicontract.ts), a member that is not there passes a test against null.
 */

import { isDeepStrictEqual } from 'node:util';
import type { PatchOp } from '../reservation.ts';

type Json = Record<string, unknown>;

/** The patched copy. @throws Error if an operation fails, and then nothing is changed */
export function applyPatch(document: Json, patch: readonly PatchOp[]): Json {
  const copy = structuredClone(document);
  for (const operation of patch) apply(copy, operation);
  return copy;
}

function apply(document: Json, operation: PatchOp): void {
  const keys = operation.path.slice(1).split('/');
  const last = keys.pop() ?? '';
  const parent = keys.reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), document);
  if (!isObject(parent)) throw new Error(`${operation.op} ${operation.path}: no such parent`);
  if (operation.op === 'test' && operation.value === null && !Object.hasOwn(parent, last)) return;
  // RFC 6902 4: only "add" may name a member that is not there.
  if (operation.op !== 'add' && !Object.hasOwn(parent, last)) {
    throw new Error(`${operation.op} ${operation.path}: no such member`);
  }
  if (operation.op === 'remove') delete parent[last];
  else if (operation.op !== 'test') parent[last] = structuredClone(operation.value);
  else if (!isDeepStrictEqual(parent[last], operation.value))
    throw new Error(`test ${operation.path}: differs`);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

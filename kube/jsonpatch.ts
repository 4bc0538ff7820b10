/**
 * JSON patch (RFC 6902) as the API server applies it, for the in-memory API.
 *
 * - Pure: the document given is not changed, and a failure has no effect.
 * - As in the API server's library, testing a member that is not there against null succeeds, and replacing
 *   one adds it.
 * - Does NOT know `move` and `copy`, which Berth never sends.
 */
import type { JsonPatchOperation } from './api.ts';

/** A patch that cannot be applied: a failed test, or a path that is not there. */
export class PatchFailed extends Error {
  override readonly name = 'PatchFailed';
}

/** Deep equality of JSON values; the order of an object's members does not matter. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, i) => jsonEqual(v, b[i]))
    );
  }
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return left.size === right.size && [...left].every(([k, v]) => right.has(k) && jsonEqual(v, right.get(k)));
}

function tokensOf(path: string): string[] {
  if (path === '') return [];
  if (!path.startsWith('/')) throw new PatchFailed(`path "${path}" does not start with /`);
  return path
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

type Container = unknown[] | Record<string, unknown>;

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null;
}

/** The index that a token names; `length` itself only where something is to be added. */
function indexOf(array: readonly unknown[], token: string, adding: boolean): number {
  if (adding && token === '-') return array.length;
  const index = /^(0|[1-9]\d*)$/.test(token) ? Number(token) : -1;
  if (index < 0 || index > (adding ? array.length : array.length - 1)) {
    throw new PatchFailed(`index ${token} is outside an array of ${array.length}`);
  }
  return index;
}

function member(container: Container, token: string): unknown {
  if (Array.isArray(container)) return container[indexOf(container, token, false)];
  return Object.hasOwn(container, token) ? container[token] : undefined;
}

function applyOne(root: { document: unknown }, operation: JsonPatchOperation): void {
  const tokens = tokensOf(operation.path);
  const last = tokens.pop();
  if (last === undefined) {
    if (operation.op === 'test' && jsonEqual(root.document, operation.value)) return;
    if (operation.op === 'add' || operation.op === 'replace') {
      root.document = structuredClone(operation.value);
      return;
    }
    throw new PatchFailed(`${operation.op} of the whole document failed`);
  }
  let parent: unknown = root.document;
  for (const token of tokens) parent = isContainer(parent) ? member(parent, token) : undefined;
  if (!isContainer(parent)) throw new PatchFailed(`${operation.op} ${operation.path}: the path is not there`);
  applyTo(parent, last, operation);
}

function applyTo(parent: Container, token: string, operation: JsonPatchOperation): void {
  const { op, path } = operation;
  if (op === 'test') {
    if (!jsonEqual(member(parent, token) ?? null, operation.value))
      throw new PatchFailed(`test ${path} failed`);
    return;
  }
  if (op === 'add') {
    const value: unknown = structuredClone(operation.value);
    if (Array.isArray(parent)) parent.splice(indexOf(parent, token, true), 0, value);
    else parent[token] = value;
    return;
  }
  if (op === 'remove' && member(parent, token) === undefined)
    throw new PatchFailed(`${op} ${path}: the path is not there`);
  if (op === 'replace') {
    const value: unknown = structuredClone(operation.value);
    if (Array.isArray(parent)) parent[indexOf(parent, token, false)] = value;
    else parent[token] = value;
  } else if (Array.isArray(parent)) {
    parent.splice(indexOf(parent, token, false), 1);
  } else {
    delete parent[token];
  }
}

/**
 * The document that the patch makes of `document`.
 * @throws PatchFailed if any operation cannot be applied.
 */
export function applyJsonPatch(document: unknown, patch: readonly JsonPatchOperation[]): unknown {
  const root = { document: structuredClone(document) };
  for (const operation of patch) applyOne(root, operation);
  return root.document;
}

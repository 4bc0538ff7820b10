/** How each call of `Api` looks as HTTP, and what its failures mean. Pure. */
import type { JsonPatchOperation, KubeObject, ListOptions, ObjectKey, Resource, WatchEvent } from './api.ts';
import { errorOfAnswer, isMutating, oneLine, type Verb } from './apistatus.ts';
import { ApiError } from './errors.ts';
import { NoAnswer } from './exchange.ts';
import type { HttpRequest } from './http.ts';
import { apiVersionOf, collectionPath, listQuery, objectPath, targetOf } from './paths.ts';

/** Content type of plain objects. */
export const JSON_TYPE = 'application/json';
/** Content type of RFC 6902 patches. */
export const PATCH_TYPE = 'application/json-patch+json';
const TABLE_TYPE = 'application/json;as=Table;v=v1;g=meta.k8s.io';

/** One call, before credentials. */
export interface Call {
  readonly verb: Verb;
  readonly resource: Resource<KubeObject>;
  readonly method: HttpRequest['method'];
  readonly path: string;
  /** For messages. */
  readonly target: string;
  readonly accept?: string;
  readonly contentType?: string;
  readonly body?: string;
}

/** A call on one object. */
export function objectCall(
  verb: Verb,
  method: HttpRequest['method'],
  resource: Resource<KubeObject>,
  key: ObjectKey,
  subresource?: 'status',
): Call {
  return {
    verb,
    method,
    resource,
    path: objectPath(resource, key, subresource),
    target: targetOf(resource, key),
  };
}

/** A list, or the same as a Table. */
export function listCall(resource: Resource<KubeObject>, options: ListOptions, table: boolean): Call {
  const { namespace } = options;
  return {
    verb: 'list',
    method: 'GET',
    resource,
    path: collectionPath(resource, namespace) + listQuery(options, table),
    target: targetOf(resource, namespace === undefined ? {} : { namespace }),
    ...(table ? { accept: TABLE_TYPE } : {}),
  };
}

/** The API server wants kind and apiVersion in every body; callers need not repeat them. */
export function encode(resource: Resource<KubeObject>, object: KubeObject): string {
  return JSON.stringify({ apiVersion: apiVersionOf(resource), kind: resource.kind, ...object });
}

/**
 * A patch as Go's encoding/json would write it, with `<`, `>`, `&`, U+2028 and U+2029 escaped. The API server compares the
 * text of a tested value, escapes and all, with that of the object, which it has just written itself.
 */
export function encodePatch(patch: readonly JsonPatchOperation[]): string {
  // They occur in strings only.
  return JSON.stringify(patch).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What a failure that is not an answer means for this call. */
export function failureOf(call: Call, error: unknown): unknown {
  if (!(error instanceof NoAnswer)) return error;
  const kind = error.written && isMutating(call.verb) ? 'OutcomeUnknown' : 'Unreachable';
  return new ApiError(kind, `${call.verb} ${call.target}: ${oneLine(error.message)}`, { cause: error });
}

/**
 * One line of a watch.
 * @throws ApiError for an ERROR event (410 is Expired); NoAnswer for a line that is not JSON.
 */
export function eventOf<T extends KubeObject>(call: Call, line: string): WatchEvent<T> {
  let event: { type: string; object: T & { code?: number } };
  try {
    // As in #json.
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new NoAnswer(`an event is not JSON: ${oneLine(line.slice(0, 200))}`, true, error);
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type: event.type, object: event.object };
    case 'BOOKMARK':
      return { type: 'BOOKMARK', resourceVersion: event.object.metadata.resourceVersion ?? '' };
    case 'ERROR':
      throw errorOfAnswer({
        verb: call.verb,
        target: call.target,
        status: event.object.code ?? 500,
        body: JSON.stringify(event.object),
      });
    default:
      throw new ApiError('Unexpected', `watch ${call.target}: unknown event type ${oneLine(event.type)}`);
  }
}

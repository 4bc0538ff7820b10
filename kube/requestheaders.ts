/**
 * The headers of requests. The same ones are the same object each time, so that the connections need not write them out anew.
 */
import { type Call, JSON_TYPE } from './calls.ts';
import type { HttpRequest } from './http.ts';

type Headers = HttpRequest['headers'];

export class RequestHeaders {
  readonly #userAgent: string;
  /** By the credentials, which are replaced now and then, and by what is accepted and sent. */
  readonly #known = new WeakMap<Headers, Map<string, Headers>>();

  constructor(userAgent: string) {
    this.#userAgent = userAgent;
  }

  /** @param credentials the session's headers */
  of({ accept = JSON_TYPE, contentType }: Call, credentials: Headers): Headers {
    let known = this.#known.get(credentials);
    if (known === undefined) {
      known = new Map();
      this.#known.set(credentials, known);
    }
    const key = `${accept} ${contentType ?? ''}`;
    let headers = known.get(key);
    if (headers === undefined) {
      headers = {
        ...credentials,
        accept,
        'user-agent': this.#userAgent,
        ...(contentType !== undefined && { 'content-type': contentType }),
      };
      known.set(key, headers);
    }
    return headers;
  }
}

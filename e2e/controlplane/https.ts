/** One request to the API server, without a client: for readiness, metrics and what Berth's own client does not do. */
import { request } from 'node:https';

export interface HttpsOptions {
  readonly ca: string;
  readonly token: string;
  readonly timeoutMs: number;
}

export interface HttpsAnswer {
  readonly status: number;
  readonly body: string;
}

/** @throws Error where there is no answer within `timeoutMs` */
export function httpsGet(url: string, options: HttpsOptions): Promise<HttpsAnswer> {
  return send('GET', url, options);
}

/** Sends an object as JSON. @throws Error where there is no answer within `timeoutMs` */
export function httpsPost(url: string, body: object, options: HttpsOptions): Promise<HttpsAnswer> {
  return send('POST', url, options, JSON.stringify(body));
}

function send(method: string, url: string, options: HttpsOptions, content?: string): Promise<HttpsAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method,
        ca: options.ca,
        // A connection of its own: one kept from before a restart would be dead.
        agent: false,
        headers: {
          authorization: `Bearer ${options.token}`,
          ...(content !== undefined && { 'content-type': 'application/json' }),
        },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      (incoming) => {
        let body = '';
        incoming.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(content);
  });
}

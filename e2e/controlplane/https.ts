/** One GET to the API server, without a client: for readiness and metrics. */
import { request } from 'node:https';

/** @throws Error where there is no answer within `timeoutMs` */
export function httpsGet(
  url: string,
  options: { readonly ca: string; readonly token: string; readonly timeoutMs: number },
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        ca: options.ca,
        // A connection of its own: one kept from before a restart would be dead.
        agent: false,
        headers: { authorization: `Bearer ${options.token}` },
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
    outgoing.end();
  });
}

/** What may be written to the agent's socket: requests that are broken in one way each, and parts of requests. */
import fc from 'fast-check';
import { CNI_ENDPOINT } from '../../plugin/protocol.ts';
import { validText } from './calls.ts';
import type { HttpInput } from './input.ts';
import { nasty, oddValue } from './values.ts';

const goodBody = validText.map((text) =>
  JSON.stringify({ command: 'DEL', env: { CNI_CONTAINERID: 'http', CNI_IFNAME: 'eth0' }, config: text }),
);

function post(
  body: string,
  headers: readonly string[] = [`Content-Length: ${Buffer.byteLength(body)}`],
): string {
  return [
    `POST ${CNI_ENDPOINT} HTTP/1.1`,
    'Host: agent',
    ...headers,
    '',
    Buffer.from(body).toString('latin1'),
  ].join('\r\n');
}

const latin = nasty.map((text) => Buffer.from(text).toString('latin1'));
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const CHUNKED = 'Transfer-Encoding: chunked';

/** Whole requests, one broken in one way each; what follows is waited for. */
const request: fc.Arbitrary<string> = fc.oneof(
  goodBody.map((body) => post(body)),
  fc.tuple(latin, latin).map(([method, path]) => `${method || 'X'} /${path} HTTP/1.1\r\nHost: a\r\n\r\n`),
  fc
    .constantFrom(
      '/v1/pools',
      '/v1/config',
      '/metrics',
      '/healthz',
      '//',
      '/%',
      '/v1/cni/..',
      'http://x/v1/cni',
      '*',
    )
    .map((path) => `GET ${path} HTTP/1.1\r\nHost: agent\r\n\r\n`),
  fc.constantFrom('HTTP/0.9', 'HTTP/2.0', 'HTTP/1.0', 'XTTP/1.1', '').map((v) => `GET /healthz ${v}\r\n\r\n`),
  fc
    .tuple(goodBody, fc.constantFrom('-1', '0', '1', '1e3', 'x', '99999999999999999999', ''))
    .map(([body, length]) => post(body, [`Content-Length: ${length}`])),
  goodBody.map((body) => post(body, ['Content-Length: 5', 'Content-Length: 6'])),
  goodBody.map((body) => post(body, [CHUNKED, 'Content-Length: 5'])),
  goodBody.map((body) => post(`${chunk(Buffer.from(body).toString('latin1'))}0\r\n\r\n`, [CHUNKED])),
  latin.map((text) => post(`zz\r\n${text}\r\n0\r\n\r\n`, [CHUNKED])),
  fc.tuple(latin, latin).map(([name, value]) => post('{}', ['Content-Length: 2', `${name}: ${value}`])),
  fc.constant(post('{}', ['Content-Length: 2', `X: ${'y'.repeat(20_000)}`])),
  fc.constant(post('{}', ['Content-Length: 2', ...Array.from({ length: 3_000 }, (_, i) => `X${i}: y`)])),
  fc.constant(post('{}', ['Content-Length: 2', 'Expect: 100-continue'])),
  fc.constant('CONNECT /v1/cni HTTP/1.1\r\nHost: agent\r\n\r\n'),
  fc.constant('GET /healthz HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
  fc.jsonValue({ maxDepth: 3 }).map((json) => post(JSON.stringify(json))),
  fc
    .dictionary(fc.constantFrom('command', 'env', 'config', '__proto__'), oddValue)
    .map((json) => post(JSON.stringify(json))),
  latin,
);

/** More than the agent accepts. */
export const oversized: string = post(
  JSON.stringify({ command: 'ADD', env: {}, config: 'x'.repeat(4_300_000) }),
);

export const http: fc.Arbitrary<HttpInput> = fc.oneof(
  {
    weight: 12,
    arbitrary: request.map((text): HttpInput => ({ kind: 'http', writes: [text], afterwards: 'end' })),
  },
  {
    weight: 2,
    arbitrary: fc.array(goodBody, { minLength: 2, maxLength: 8 }).map(
      (bodies): HttpInput => ({
        kind: 'http',
        writes: [bodies.map((b) => post(b)).join('')],
        afterwards: 'wait',
      }),
    ),
  },
  {
    weight: 2,
    arbitrary: goodBody.map(
      (body): HttpInput => ({
        kind: 'http',
        writes: post(body).match(/[\s\S]{1,40}/g) ?? [],
        afterwards: 'wait',
      }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(goodBody, fc.nat()).map(
      ([body, at]): HttpInput => ({
        kind: 'http',
        writes: [post(body).slice(0, at % post(body).length)],
        afterwards: at % 2 === 0 ? 'end' : 'destroy',
      }),
    ),
  },
);

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../kube/clock.ts';
import { CNI_ENDPOINT } from '../protocol.ts';
import { takeWholeRequests, wholeBody } from './wholerequest.ts';

const BODY = '{"command":"ADD","env":{"CNI_IFNAME":"größe"},"config":"{}"}';
const LENGTH = Buffer.byteLength(BODY);
const START = `POST ${CNI_ENDPOINT} HTTP/1.1\r\n`;
/** As plugin/cni/socket.ts writes it. */
const FIELDS = `Host: berth\r\nContent-Type: application/json\r\nContent-Length: ${LENGTH}\r\nConnection: close\r\n`;
const WHOLE = `${START}${FIELDS}\r\n${BODY}`;

describe('a usual request', () => {
  it('is whole as the binary writes it', () => {
    expect(wholeBody(Buffer.from(WHOLE))).toBe(BODY);
  });

  it('is not whole without its last byte, or with one more', () => {
    expect(wholeBody(Buffer.from(WHOLE).subarray(0, -1))).toBeUndefined();
    expect(wholeBody(Buffer.from(`${WHOLE}\n`))).toBeUndefined();
  });

  it.each([
    ['another path', `POST /v1/pools HTTP/1.1\r\n${FIELDS}\r\n${BODY}`],
    ['another method', `PUT ${CNI_ENDPOINT} HTTP/1.1\r\n${FIELDS}\r\n${BODY}`],
    ['another version', `POST ${CNI_ENDPOINT} HTTP/1.0\r\n${FIELDS}\r\n${BODY}`],
    ['no length', `${START}Host: berth\r\n\r\n${BODY}`],
    ['two lengths', `${START}${FIELDS}Content-Length: ${LENGTH}\r\n\r\n${BODY}`],
    ['a length that is no number', `${START}Content-Length: 0x3b\r\n\r\n${BODY}`],
    ['a coding', `${START}${FIELDS}Transfer-Encoding: chunked\r\n\r\n${BODY}`],
    ['an expectation', `${START}${FIELDS}Expect: 100-continue\r\n\r\n${BODY}`],
    ['a folded field', `${START}${FIELDS}Accept: a\r\n b\r\n\r\n${BODY}`],
    ['a space before a colon', `${START}${FIELDS}Accept : a\r\n\r\n${BODY}`],
    ['no fields', `${START}\r\n${BODY}`],
    ['bare line feeds', WHOLE.replaceAll('\r', '')],
    ['nothing', ''],
  ])('is none with %s: that is left to the HTTP server', (_what, text) => {
    expect(wholeBody(Buffer.from(text))).toBeUndefined();
  });

  it('is found in no part of one, and other bytes are no error', () => {
    const bytes = Buffer.from(WHOLE);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.uint8Array({ maxLength: 100 }), (length, others) => {
        expect(wholeBody(bytes.subarray(0, length))).toBeUndefined();
        expect(wholeBody(Buffer.from(others))).toBeUndefined();
      }),
    );
  });
});

describe('a server', () => {
  let server: Server;
  let seen: string[];

  beforeEach(async () => {
    seen = [];
    server = createServer((request, response) => {
      seen.push(`http ${request.method} ${request.url}`);
      let body = '';
      request.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      request.on('end', () => response.end(`http ${body}`));
    });
    takeWholeRequests(server, {
      clock: systemClock,
      timeoutMs: 500,
      answer: (body, reply) => {
        seen.push('whole');
        reply(
          `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
        );
      },
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });

  /** What the server says to these pieces until it hangs up; each is sent when it has read the one before. */
  async function say(...pieces: readonly string[]): Promise<string> {
    let accepted: Socket | undefined;
    server.once('connection', (socket: Socket) => {
      accepted = socket;
    });
    // A TCP server that listens has an AddressInfo.
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const closed = once(client, 'close');
    let said = '';
    client.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk;
    });
    let sent = 0;
    for (const piece of pieces) {
      client.write(piece);
      sent += Buffer.byteLength(piece);
      await expect.poll(() => accepted?.bytesRead).toBe(sent);
    }
    await closed;
    return said;
  }

  it('never sees a whole one, whose connection is closed after its answer', async () => {
    expect(await say(WHOLE)).toMatch(/^HTTP\/1\.1 200 OK[^]*\r\n\r\n\{"command"/);
    expect(seen).toEqual(['whole']);
  });

  it('gets one in pieces as if nobody had looked at it', async () => {
    const said = await say(WHOLE.slice(0, 10), WHOLE.slice(10, 150), WHOLE.slice(150));
    expect(said).toContain(`http ${BODY}`);
    expect(seen).toEqual([`http POST ${CNI_ENDPOINT}`]);
  });

  it('gets any other request', async () => {
    expect(await say('GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toContain('200 OK');
    expect(seen).toEqual(['http GET /metrics']);
  });

  it('says what is wrong with what is no HTTP', async () => {
    expect(await say('\x16\x03\x01 hello\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    expect(seen).toEqual([]);
  });

  it('hangs up on who says nothing in time', async () => {
    expect(await say()).toBe('');
  });
});

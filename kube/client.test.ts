import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConnectOptions, connect, type RestApi } from './client.ts';
import { type Clock, systemClock } from './clock.ts';
import { configMaps, nodes, pods } from './core.ts';
import { isApiError } from './errors.ts';

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

let directory: string;
let server: Server;
let answer: Answer;
let requests: string[];
let connections: number;
let api: RestApi | undefined;

const port = (): number => {
  // A TCP server that listens has an AddressInfo.
  return (server.address() as AddressInfo).port;
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-client-'));
  requests = [];
  connections = 0;
  answer = (_request, response) => json(response, 200, {});
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      requests.push(`${request.method} ${request.url}`);
      answer(request, response, body);
    });
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
});

afterEach(async () => {
  await api?.close();
  api = undefined;
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  await rm(directory, { recursive: true });
});

/** Writes the file again; its path is always the same. */
async function kubeconfigOf(user: object, path = ''): Promise<string> {
  const kubeconfig = join(directory, 'kubeconfig');
  const url = `http://127.0.0.1:${port()}${path}`;
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
      'current-context': 'x',
    }),
  );
  return kubeconfig;
}

async function open(
  options: Partial<ConnectOptions> & { user?: object; path?: string } = {},
): Promise<RestApi> {
  const kubeconfig = await kubeconfigOf(options.user ?? { token: 'secret' }, options.path);
  api = await connect({ kubeconfig, userAgent: 'berth-test/1', ...options });
  return api;
}

function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

const key = { namespace: 'shop', name: 'web' };
const pod = { metadata: key };

async function failure(
  call: Promise<unknown>,
): Promise<{ kind: string; message: string; retryAfterMs?: number }> {
  try {
    await call;
  } catch (error) {
    if (!isApiError(error)) throw error;
    const { kind, message, retryAfterMs } = error;
    return { kind, message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  }
  return { kind: 'no error', message: '' };
}

const kindOf = async (call: Promise<unknown>): Promise<string> => (await failure(call)).kind;

describe('requests', () => {
  it('carry credentials, user agent and the path of a server behind a gateway', async () => {
    let headers: IncomingMessage['headers'] = {};
    answer = (request, response) => {
      ({ headers } = request);
      json(response, 200, pod);
    };
    const client = await open({ path: '/clusters/a/' });
    await client.get(pods, key);
    expect(requests).toEqual(['GET /clusters/a/api/v1/namespaces/shop/pods/web']);
    expect(headers).toMatchObject({ authorization: 'Bearer secret', 'user-agent': 'berth-test/1' });
    expect(client.namespace).toBe('shop');
  });

  it('share kept-alive connections', async () => {
    const client = await open({ connections: 2 });
    await Promise.all(Array.from({ length: 20 }, () => client.get(pods, key)));
    await client.get(pods, key);
    expect(requests).toHaveLength(21);
    expect(connections).toBe(2);
  });

  it('that delete with preconditions keep their connection', async () => {
    const client = await open();
    for (let i = 0; i < 6; i += 1) {
      await client.delete(configMaps, { namespace: 'a', name: 'b' }, { preconditions: { uid: 'u' } });
    }
    expect(requests).toHaveLength(6);
    expect(connections).toBe(1);
  });

  it('name kind and apiVersion in what they send', async () => {
    let sent = '';
    answer = (_request, response, body) => {
      sent = body;
      json(response, 201, JSON.parse(body));
    };
    const client = await open();
    await client.create(pods, pod);
    expect(JSON.parse(sent)).toEqual({ apiVersion: 'v1', kind: 'Pod', ...pod });
  });

  it('of a DELETE with preconditions send them', async () => {
    let sent = '';
    answer = (_request, response, body) => {
      sent = body;
      json(response, 200, { kind: 'Status' });
    };
    const client = await open();
    await client.delete(pods, key, { preconditions: { uid: 'u', resourceVersion: '7' } });
    expect(JSON.parse(sent)).toMatchObject({ preconditions: { uid: 'u', resourceVersion: '7' } });
  });

  it('put the parts of a list into the query', async () => {
    answer = (_request, response) => json(response, 200, { metadata: { resourceVersion: '1' }, items: null });
    const client = await open();
    const list = await client.list(pods, { namespace: 'shop', fieldSelector: 'spec.nodeName=a b', limit: 5 });
    expect(list.items).toEqual([]);
    expect(requests).toEqual([
      'GET /api/v1/namespaces/shop/pods?fieldSelector=spec.nodeName%3Da%20b&limit=5',
    ]);
  });

  it('that do not name one object are not sent', async () => {
    const client = await open();
    expect(await kindOf(client.delete(pods, { namespace: 'shop', name: '' }))).toBe('Invalid');
    expect(await kindOf(client.delete(pods, { name: 'web' }))).toBe('Invalid');
    expect(await kindOf(client.get(nodes, { namespace: 'shop', name: 'a' }))).toBe('Invalid');
    expect(requests).toEqual([]);
  });
});

describe('failures', () => {
  const cut: Answer = (request) => request.socket.destroy();

  it('a refused connection is Unreachable, also for a write', async () => {
    const client = await open();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    expect(await kindOf(client.create(pods, pod))).toBe('Unreachable');
    expect(await kindOf(client.get(pods, key))).toBe('Unreachable');
    // afterEach closes a server that listens.
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });

  it('a connection that is cut is OutcomeUnknown for a write and Unreachable for a read', async () => {
    answer = cut;
    const client = await open();
    expect(await kindOf(client.create(pods, pod))).toBe('OutcomeUnknown');
    expect(await kindOf(client.update(pods, pod))).toBe('OutcomeUnknown');
    expect(await kindOf(client.patch(pods, key, []))).toBe('OutcomeUnknown');
    expect(await kindOf(client.delete(pods, key))).toBe('OutcomeUnknown');
    expect(await kindOf(client.get(pods, key))).toBe('Unreachable');
    expect(await kindOf(client.list(pods))).toBe('Unreachable');
    expect(await kindOf(client.listTable(pods))).toBe('Unreachable');
    expect(requests).toHaveLength(7);
  });

  it('an answer that breaks off is no answer', async () => {
    answer = (request, response) => {
      response.writeHead(201, { 'content-length': '1000' });
      response.write('{"metadata"');
      setImmediate(() => request.socket.destroy());
    };
    const client = await open();
    expect(await kindOf(client.create(pods, pod))).toBe('OutcomeUnknown');
    expect(await kindOf(client.get(pods, key))).toBe('Unreachable');
  });

  it('an answer that is not JSON is no answer', async () => {
    answer = (_request, response) => response.end('<html>login</html>');
    const client = await open();
    const create = await failure(client.create(pods, pod));
    expect(create.kind).toBe('OutcomeUnknown');
    expect(create.message).toContain('<html>login</html>');
    expect(await kindOf(client.get(pods, key))).toBe('Unreachable');
  });

  it('silence ends at the time-out: OutcomeUnknown for a write, Unreachable for a read', async () => {
    answer = () => undefined;
    const client = await open({ timeoutMs: 50 });
    expect(await failure(client.create(pods, pod))).toMatchObject({
      kind: 'OutcomeUnknown',
      message: expect.stringContaining('create pods/shop/web: no answer within') as string,
    });
    expect(await kindOf(client.get(pods, key, { timeoutMs: 20 }))).toBe('Unreachable');
  });

  it('a call that was given up while it waited for a connection is Unreachable and never sent', async () => {
    let release = (): void => undefined;
    answer = (_request, response) => {
      release = () => json(response, 200, {});
    };
    const client = await open({ connections: 1 });
    const first = client.get(pods, { ...key, name: 'first' });
    await expect.poll(() => requests.length).toBe(1);
    expect(await kindOf(client.create(pods, pod, { timeoutMs: 20 }))).toBe('Unreachable');
    release();
    await first;
    const last = client.get(pods, { ...key, name: 'last' });
    await expect.poll(() => requests.length).toBe(2);
    release();
    await last;
    expect(requests.map((request) => request.split('/').at(-1))).toEqual(['first', 'last']);
  });

  it('an abort rejects with its reason', async () => {
    answer = () => undefined;
    const client = await open();
    const stop = new AbortController();
    const call = client.create(pods, pod, { signal: stop.signal });
    await expect.poll(() => requests.length).toBe(1);
    const reason = new Error('enough');
    stop.abort(reason);
    await expect(call).rejects.toBe(reason);
  });

  it('429, and 503 with Retry-After, are Throttled; without a time for a second', async () => {
    const client = await open();
    answer = (_request, response) => json(response, 429, {}, { 'retry-after': '3' });
    expect(await failure(client.create(pods, pod))).toMatchObject({ kind: 'Throttled', retryAfterMs: 3000 });
    answer = (_request, response) => json(response, 429, {});
    expect(await failure(client.get(pods, key))).toMatchObject({ kind: 'Throttled', retryAfterMs: 1000 });
    answer = (_request, response) => json(response, 503, {}, { 'retry-after': '2' });
    expect(await failure(client.create(pods, pod))).toMatchObject({ kind: 'Throttled', retryAfterMs: 2000 });
  });

  it.each([500, 502, 503, 504])('%i leaves the outcome of a write unknown', async (status) => {
    answer = (_request, response) => json(response, status, { message: 'etcd is away' });
    const client = await open();
    expect(await failure(client.create(pods, pod))).toMatchObject({
      kind: 'OutcomeUnknown',
      message: `create pods/shop/web: ${status}: etcd is away`,
    });
    expect(await kindOf(client.get(pods, key))).toBe('Unreachable');
  });

  it('after `close` is Unreachable', async () => {
    const client = await open();
    await client.close();
    expect(await kindOf(client.create(pods, pod))).toBe('Unreachable');
  });
});

describe('watch', () => {
  const object = (name: string): object => ({ metadata: { name, resourceVersion: '5' } });
  const event = (type: string, body: object): string => `${JSON.stringify({ type, object: body })}\n`;

  async function read(options: { idleTimeoutMs?: number; signal?: AbortSignal } = {}): Promise<unknown[]> {
    const client = await open();
    const seen: unknown[] = [];
    try {
      for await (const found of client.watch(configMaps, { resourceVersion: '1', ...options })) {
        seen.push(
          found.type === 'BOOKMARK'
            ? `BOOKMARK ${found.resourceVersion}`
            : `${found.type} ${found.object.metadata.name}`,
        );
      }
    } catch (error) {
      seen.push(isApiError(error) ? error.kind : error);
    }
    return seen;
  }

  it('asks for bookmarks and reads events however the bytes are cut', async () => {
    const text =
      event('ADDED', object('größe')) + event('BOOKMARK', object('')) + event('DELETED', object('b'));
    answer = (_request, response) => {
      const bytes = Buffer.from(text);
      const send = (from: number): void => {
        if (from >= bytes.length) {
          response.end();
          return;
        }
        response.write(bytes.subarray(from, from + 7), () => setImmediate(() => send(from + 7)));
      };
      send(0);
    };
    expect(await read()).toEqual(['ADDED größe', 'BOOKMARK 5', 'DELETED b']);
    expect(requests).toEqual([
      'GET /api/v1/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion=1',
    ]);
  });

  it('holds the server back while its reader is slow, and loses nothing', async () => {
    answer = (_request, response) => {
      for (let i = 0; i < 5000; i += 1) response.write(event('ADDED', object(`o${i}`)));
      response.end();
    };
    const seen = await read();
    expect(seen).toEqual(Array.from({ length: 5000 }, (_, i) => `ADDED o${i}`));
  });

  it('410 is Expired, as an answer and as an ERROR event', async () => {
    answer = (_request, response) => json(response, 410, { reason: 'Expired', message: 'too old' });
    expect(await read()).toEqual(['Expired']);
    await api?.close();
    answer = (_request, response) =>
      response.end(event('ERROR', { code: 410, reason: 'Expired', message: 'too old' }));
    expect(await read()).toEqual(['Expired']);
  });

  it('that is cut is Unreachable', async () => {
    answer = (request, response) => {
      response.write(event('ADDED', object('a')), () => setImmediate(() => request.socket.destroy()));
    };
    expect(await read()).toEqual(['ADDED a', 'Unreachable']);
  });

  it('that is silent is Unreachable', async () => {
    answer = (_request, response) => response.write(event('ADDED', object('a')));
    expect(await read({ idleTimeoutMs: 50 })).toEqual(['ADDED a', 'Unreachable']);
  });

  it('frees its connection when its reader stops', async () => {
    let closed = false;
    answer = (request, response) => {
      request.socket.on('close', () => {
        closed = true;
      });
      response.write(event('ADDED', object('a')));
    };
    const client = await open();
    for await (const found of client.watch(configMaps, { resourceVersion: '1' })) {
      expect(found.type).toBe('ADDED');
      break;
    }
    await expect.poll(() => closed).toBe(true);
  });

  it('does not use up the connections of calls', async () => {
    answer = (request, response) => {
      if (request.url?.includes('watch=true') === true) response.write(event('ADDED', object('a')));
      else json(response, 200, {});
    };
    const client = await open({ connections: 1 });
    for await (const found of client.watch(configMaps, { resourceVersion: '1' })) {
      expect(found.type).toBe('ADDED');
      await client.get(pods, key);
      break;
    }
    expect(requests).toHaveLength(2);
  });
});

describe('credentials', () => {
  let skipped = 0;
  const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + skipped };

  /** An exec plugin that gives token-1, token-2, … and never lets the client remember one. */
  async function plugin(): Promise<object> {
    const script = join(directory, 'plugin');
    const count = join(directory, 'count');
    await writeFile(count, '');
    await writeFile(
      script,
      `#!/bin/sh\nprintf x >> ${count}\nn=$(wc -c < ${count})\nprintf '{"kind":"ExecCredential","status":{"token":"token-%d","expirationTimestamp":"2020-01-01T00:00:00Z"}}' $n\n`,
    );
    await chmod(script, 0o755);
    return { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: script } };
  }

  it('are read again after 30 seconds, and not before', async () => {
    skipped = 0;
    const tokens: (string | undefined)[] = [];
    answer = (request, response) => {
      tokens.push(request.headers.authorization);
      json(response, 200, {});
    };
    const client = await open({ clock, user: await plugin() });
    await client.get(pods, key);
    await client.get(pods, key);
    skipped += 31_000;
    await Promise.all([client.get(pods, key), client.get(pods, key)]);
    expect(tokens).toEqual(['Bearer token-1', 'Bearer token-1', 'Bearer token-2', 'Bearer token-2']);
  });

  it('are read again after a 401', async () => {
    skipped = 0;
    answer = (request, response) =>
      json(response, request.headers.authorization === 'Bearer token-1' ? 401 : 200, {});
    const client = await open({ clock, user: await plugin() });
    expect(await kindOf(client.get(pods, key))).toBe('Forbidden');
    expect(await kindOf(client.get(pods, key))).toBe('no error');
  });

  it('in a kubeconfig that was replaced are read after a 401, or 30 seconds', async () => {
    skipped = 0;
    const tokens: (string | undefined)[] = [];
    answer = (request, response) => {
      tokens.push(request.headers.authorization);
      json(response, request.headers.authorization === 'Bearer revoked' ? 401 : 200, {});
    };
    const client = await open({ clock, user: { token: 'one' } });
    await client.get(pods, key);
    await kubeconfigOf({ token: 'revoked' });
    await client.get(pods, key);
    skipped += 31_000;
    expect(await kindOf(client.get(pods, key))).toBe('Forbidden');
    await kubeconfigOf({ token: 'three' });
    await client.get(pods, key);
    expect(tokens).toEqual(['Bearer one', 'Bearer one', 'Bearer revoked', 'Bearer three']);
  });

  it('in a kubeconfig that is broken meanwhile make the call Unreachable, until it is whole again', async () => {
    skipped = 0;
    answer = (_request, response) => json(response, 200, {});
    const client = await open({ clock, user: { token: 'one' } });
    const path = await kubeconfigOf({ token: 'one' });
    const whole = await readFile(path, 'utf8');
    await writeFile(path, whole.slice(0, 40));
    skipped += 31_000;
    expect(await failure(client.get(pods, key))).toMatchObject({
      kind: 'Unreachable',
      message: expect.stringContaining(path) as string,
    });
    await writeFile(path, whole);
    expect(await kindOf(client.get(pods, key))).toBe('no error');
  });

  it('that cannot be got make the call Unreachable: nothing was sent', async () => {
    skipped = 0;
    const client = await open({ clock, user: await plugin() });
    await rm(join(directory, 'plugin'));
    skipped += 31_000;
    expect(await failure(client.create(pods, pod))).toMatchObject({
      kind: 'Unreachable',
      message: expect.stringContaining('cannot get credentials') as string,
    });
    expect(requests).toEqual([]);
  });
});

describe('connect', () => {
  const refusal = async (kubeconfig: string): Promise<unknown> => {
    try {
      await connect({ kubeconfig, userAgent: 'berth-test/1' });
    } catch (error) {
      return error;
    }
    return undefined;
  };

  it('names a kubeconfig that is not there', async () => {
    const path = join(directory, 'nothing');
    expect(String(await refusal(path))).toContain(`cannot load kubeconfig ${path}`);
  });

  it('names a kubeconfig without a usable context', async () => {
    const path = join(directory, 'empty');
    await writeFile(path, JSON.stringify({ clusters: [], users: [], contexts: [], 'current-context': 'x' }));
    expect(String(await refusal(path))).toContain('no usable current context');
  });

  it('outside a cluster asks for a kubeconfig', async () => {
    expect(process.env['KUBERNETES_SERVICE_HOST']).toBeUndefined();
    await expect(connect({ userAgent: 'berth-test/1' })).rejects.toThrow('--kubeconfig');
  });
});

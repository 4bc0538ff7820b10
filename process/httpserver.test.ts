import { request } from 'node:http';
import { Counter, Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { silentLog } from '../kube/log.ts';
import { type ProbeOptions, type ProbeServer, serveProbes } from './httpserver.ts';

const servers: ProbeServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(options: ProbeOptions, host = '127.0.0.1'): Promise<string> {
  const server = await serveProbes({ ...options, address: { host, port: 0 }, log: silentLog });
  servers.push(server);
  return `http://${server.address}`;
}

test('a check that passes answers 200 ok, one that fails 503 with its reason', async () => {
  const url = await serve({ checks: { healthz: () => undefined, readyz: () => 'pools are not synced' } });
  const healthz = await fetch(`${url}/healthz`);
  const readyz = await fetch(`${url}/readyz`);
  expect([healthz.status, await healthz.text()]).toEqual([200, 'ok\n']);
  expect([readyz.status, await readyz.text()]).toEqual([503, 'pools are not synced\n']);
});

test('/metrics is the registry in the text format of Prometheus', async () => {
  const registry = new Registry();
  new Counter({ name: 'berth_test_total', help: 'a counter', registers: [registry] }).inc(2);
  const answer = await fetch(`${await serve({ registry })}/metrics`);
  expect(answer.headers.get('content-type')).toBe(registry.contentType);
  expect(await answer.text()).toContain('berth_test_total 2');
});

test('further routes get the URL with its query', async () => {
  const url = await serve({
    routes: { '/v1/pools': (at) => ({ status: 200, contentType: 'application/json', body: at.search }) },
  });
  expect(await (await fetch(`${url}/v1/pools?name=a`)).text()).toBe('?name=a');
});

test('an unknown path is 404 and names the paths there are', async () => {
  const answer = await fetch(`${await serve({ registry: new Registry() })}/healthz`);
  expect([answer.status, await answer.text()]).toEqual([404, 'not found: the paths are /metrics\n']);
});

test('HEAD has no body, other methods are 405', async () => {
  const url = await serve({ checks: { healthz: () => undefined, readyz: () => undefined } });
  const head = await fetch(`${url}/healthz`, { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '3', '']);
  expect((await fetch(`${url}/healthz`, { method: 'POST', body: 'x' })).status).toBe(405);
});

test('a route that throws is 500 and the server goes on', async () => {
  const url = await serve({
    routes: {
      '/bad': () => {
        throw new Error('secret');
      },
      '/good': () => ({ status: 200, contentType: 'text/plain', body: 'fine' }),
    },
  });
  const bad = await fetch(`${url}/bad`);
  expect([bad.status, await bad.text()]).toEqual([500, 'internal error\n']);
  expect((await fetch(`${url}/good`)).status).toBe(200);
});

test('a malformed request target does not end the server', async () => {
  const url = new URL(await serve({ registry: new Registry() }));
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const call = request({ host: url.hostname, port: url.port, path: '//' }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    call.on('error', reject);
    call.end();
  });
  expect(status).toBe(400);
  expect((await fetch(`${url.origin}/metrics`)).status).toBe(200);
});

test('a port in use is an error that names it', async () => {
  const port = Number(new URL(await serve({})).port);
  await expect(serveProbes({ address: { host: '127.0.0.1', port }, log: silentLog })).rejects.toThrow(
    /EADDRINUSE/,
  );
});

test('an IPv6 address is shown in brackets with the real port', async () => {
  expect(await serve({}, '::1')).toMatch(/^http:\/\/\[::1\]:[1-9]\d*$/);
});

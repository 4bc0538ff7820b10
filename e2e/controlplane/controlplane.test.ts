import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isPidRunning } from './child.ts';
import { attachControlPlane, type ControlPlane, startControlPlane } from './controlplane.ts';
import { requestDifference } from './metrics.ts';
import { RunError } from './run.ts';

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 600; i += 1) {
    if (condition()) return;
    await sleep(50);
  }
  throw new Error(`waited 30 s in vain until ${what}`);
}

describe('a control plane', () => {
  let first: ControlPlane;
  let second: ControlPlane;

  beforeAll(async () => {
    [first, second] = await Promise.all([startControlPlane({ name: 'a' }), startControlPlane({ name: 'b' })]);
  });

  afterAll(async () => {
    await first.stop();
    await second.stop();
  });

  test('runs beside another one and shares nothing with it', async () => {
    expect(first.url).not.toBe(second.url);
    await first.kubectl(['create', 'namespace', 'only-in-the-first']);
    await expect(second.kubectl(['get', 'namespace', 'only-in-the-first'])).rejects.toThrow(/NotFound/);
  });

  test('keeps its data and its address when the API server is killed and started again', async () => {
    const { url, apiServerPid } = first;
    await first.kubectl(['create', 'namespace', 'kept-by-etcd']);
    await first.killApiServer();
    expect(isPidRunning(apiServerPid)).toBe(false);
    await first.startApiServer();
    expect(first.url).toBe(url);
    expect(first.apiServerPid).not.toBe(apiServerPid);
    expect(await first.kubectl(['get', 'namespace', 'kept-by-etcd', '-o', 'name'])).toBe(
      'namespace/kept-by-etcd\n',
    );
  });

  test('keeps its data when etcd is killed and started again', async () => {
    const { etcdPid } = first;
    await first.kubectl(['create', 'namespace', 'kept-on-disk']);
    await first.restartEtcd();
    expect(first.etcdPid).not.toBe(etcdPid);
    expect(await first.kubectl(['get', 'namespace', 'kept-on-disk', '-o', 'name'])).toBe(
      'namespace/kept-on-disk\n',
    );
  });

  test.each([
    ['at the revision of the snapshot', {}],
    ['with bumped revisions', { bumpRevision: 1_000_000_000 }],
    ['at the revision of the snapshot, under an API server that goes on', { keepApiServer: true }],
    [
      'with bumped revisions, under an API server that goes on',
      { bumpRevision: 1_000_000_000, keepApiServer: true },
    ],
  ])('forgets what came after a snapshot that is restored %s', async (_how, options) => {
    const versionNow = async (): Promise<number> => {
      const { body } = await first.post('/api/v1/namespaces/default/configmaps', {
        metadata: { generateName: 'version-' },
      });
      return Number((JSON.parse(body) as { metadata: { resourceVersion: string } }).metadata.resourceVersion);
    };
    const name = ['snapshot', ...Object.keys(options)].join('-').toLowerCase();
    await first.kubectl(['create', 'namespace', `${name}-before`]);
    const snapshot = await first.snapshot();
    const pid = first.apiServerPid;
    await first.kubectl(['create', 'namespace', name]);
    const before = await versionNow();
    await first.restore(snapshot, options);
    await expect(first.kubectl(['get', 'namespace', name])).rejects.toThrow(/NotFound/);
    expect(await first.kubectl(['get', 'namespace', `${name}-before`, '-o', 'name'])).toBe(
      `namespace/${name}-before\n`,
    );
    // An API server that starts writes a little of its own.
    expect((await versionNow()) > before + 1_000_000).toBe('bumpRevision' in options);
    expect(first.apiServerPid === pid).toBe('keepApiServer' in options);
  });

  test('counts requests by verb, resource and code', async () => {
    const before = await second.countRequests();
    await second.kubectl(['create', 'configmap', 'counted', '--from-literal=a=b']);
    const changed = requestDifference(before, await second.countRequests());
    expect(changed).toContainEqual(
      expect.objectContaining({ verb: 'POST', resource: 'configmaps', code: 201, count: 1 }),
    );
  });

  test("knows Berth's service accounts by their tokens and gives them no right of its own accord", async () => {
    const kubeconfig = await second.userKubeconfig('berth-agent');
    const who = await second.kubectl(['--kubeconfig', kubeconfig, 'auth', 'whoami', '-o', 'json']);
    expect(JSON.parse(who)).toMatchObject({
      status: { userInfo: { username: 'system:serviceaccount:berth-system:berth-agent' } },
    });
    await expect(second.kubectl(['--kubeconfig', kubeconfig, 'get', 'pods'])).rejects.toThrow(/Forbidden/);
  });

  test('hands kubectl its standard input and reports what it says on failure', async () => {
    const manifest = JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'from-stdin' },
    });
    await second.kubectl(['apply', '-f', '-'], manifest);
    const failure = await second.kubectl(['get', 'configmap', 'absent']).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RunError);
    expect(failure).toMatchObject({ exitCode: 1, message: expect.stringContaining('"absent" not found') });
  });
});

describe('the end of a control plane', () => {
  test('stop leaves no process and no directory', async () => {
    const controlPlane = await startControlPlane({ name: 'stop' });
    const { apiServerPid, etcdPid, directory } = controlPlane;
    await controlPlane.stop();
    expect([isPidRunning(apiServerPid), isPidRunning(etcdPid), existsSync(directory)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  test('it dies with a parent that is killed, and the next start removes its directory', async () => {
    const script = `
      import { startControlPlane } from ${JSON.stringify(join(import.meta.dirname, 'controlplane.ts'))};
      const c = await startControlPlane({ name: 'orphan' });
      console.log(JSON.stringify({ pids: [c.apiServerPid, c.etcdPid], directory: c.directory }));
      setInterval(() => undefined, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(parent.stdout.setEncoding('utf8'), 'data')) as [string];
    const { pids, directory } = JSON.parse(line) as { pids: number[]; directory: string };
    expect(pids.every(isPidRunning)).toBe(true);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await until('both servers are gone', () => !pids.some(isPidRunning));
    const next = await startControlPlane({ name: 'next' });
    expect(existsSync(directory)).toBe(false);
    await next.stop();
  });

  test('one in a directory of the caller stays, is found again by it, and is stopped through it', async () => {
    const directory = join(await mkdtemp(join(tmpdir(), 'berth-test-')), 'plane');
    const started = await startControlPlane({ directory });
    const found = await attachControlPlane(directory);
    expect(found?.url).toBe(started.url);
    expect(await found?.kubectl(['get', 'namespace', 'default', '-o', 'name'])).toBe('namespace/default\n');
    await found?.stop();
    expect([isPidRunning(started.apiServerPid), existsSync(directory)]).toEqual([false, false]);
    expect(await attachControlPlane(directory)).toBeUndefined();
    await rm(join(directory, '..'), { recursive: true });
  });

  test('one is not started over the data of another', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-test-'));
    await writeFile(join(directory, 'something'), '');
    await expect(startControlPlane({ directory })).rejects.toThrow(/is not empty/);
    expect(await readdir(directory)).toEqual(['something']);
    await rm(directory, { recursive: true });
  });

  test('one that cannot start says why, with the end of its log, and leaves nothing', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'berth-test-'));
    const etcd = join(parent, 'broken-etcd');
    await writeFile(etcd, '#!/bin/sh\necho the disk is on fire\nexit 3\n', { mode: 0o755 });
    const directory = join(parent, 'plane');
    const assets = { etcd, kubeApiserver: etcd, kubectl: etcd };
    await expect(startControlPlane({ directory, assets })).rejects.toThrow(
      /etcd ended.*the disk is on fire/s,
    );
    expect(existsSync(directory)).toBe(false);
    await rm(parent, { recursive: true });
  });
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { describeApiContract, widgetManifest, widgets } from './apicontract.ts';
import { connect, type RequestInfo } from './client.ts';
import { type Clock, systemClock } from './clock.ts';
import { configMaps } from './core.ts';

let controlPlane: ControlPlane;

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'kube' });
  await controlPlane.kubectl(['apply', '-f', '-'], JSON.stringify(widgetManifest));
  await controlPlane.kubectl(['wait', '--for=condition=Established', 'crd/widgets.contract.berth.dev']);
});
afterAll(() => controlPlane.stop());

describeApiContract('RestApi against a real API server', async () => {
  const api = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'berth-contract' });
  return { api, pass: (ms) => systemClock.sleep(ms), close: () => api.close() };
});

describe('RestApi against a real API server', () => {
  it('reports every call with verb, resource and status', async () => {
    const requests: RequestInfo[] = [];
    const api = await connect({
      kubeconfig: controlPlane.kubeconfig,
      userAgent: 'berth-contract',
      onRequest: (request) => requests.push(request),
    });
    await expect(api.get(widgets, { name: 'nobody' })).rejects.toMatchObject({ kind: 'NotFound' });
    await api.list(configMaps, { namespace: 'default' });
    await api.close();
    expect(requests.map(({ verb, resource, code }) => [verb, resource, code])).toEqual([
      ['get', 'widgets', 404],
      ['list', 'configmaps', 200],
    ]);
  });

  it('honours a CA file that changes, without a restart', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-ca-'));
    const caFile = join(directory, 'ca.crt');
    const goodCa = await readFile(controlPlane.caFile);
    await writeFile(caFile, goodCa);
    const kubeconfig = join(directory, 'kubeconfig');
    await writeFile(kubeconfig, await kubeconfigWithCaFile(caFile));
    let skipped = 0;
    const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + skipped };
    const api = await connect({ kubeconfig, userAgent: 'berth-contract', clock });
    const read = (): Promise<unknown> => api.list(configMaps, { namespace: 'default', limit: 1 });
    await read();
    // A CA that did not sign the server's certificate: the next reading makes new connections, which must fail.
    await writeFile(caFile, rootCertificates[0] ?? '');
    await read();
    skipped += 60_000;
    await expect(read()).rejects.toMatchObject({ kind: 'Unreachable' });
    await writeFile(caFile, goodCa);
    skipped += 60_000;
    await read();
    await api.close();
    await rm(directory, { recursive: true });
  });
});

/** The administrator's kubeconfig with the CA as a file beside it. */
async function kubeconfigWithCaFile(caFile: string): Promise<string> {
  const args = [
    'config',
    'view',
    '--raw',
    '--flatten',
    '-o',
    'json',
    '--kubeconfig',
    controlPlane.kubeconfig,
  ];
  // kubectl's own format.
  const config = JSON.parse(await controlPlane.kubectl(args)) as {
    clusters: { cluster: Record<string, string> }[];
  };
  for (const { cluster } of config.clusters) {
    delete cluster['certificate-authority-data'];
    cluster['certificate-authority'] = caFile;
  }
  return JSON.stringify(config);
}

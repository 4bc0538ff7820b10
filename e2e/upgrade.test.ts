/**
 * Two builds at work on the same objects: this one on kinds that know more than it, and with what the first build has left;
 * and one that follows the other while pods come and go.
 *
 * - A newer build brings kinds with more fields (docs/adr, storage version): they are added here to the real kinds.
 * - `testdata/upgrade/` is what the agent of commit 27d9cfb had written after two ADDs and a DEL: its journal, its answers,
 *   and the reservations.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { run } from './controlplane/run.ts';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import { type CniOutcome, callBinary, callSocket, codeOf } from './harness/cni.ts';
import { inParallel } from './harness/parallel.ts';
import { artefacts, nodePath } from './harness/programs.ts';
import { waitFor } from './harness/wait.ts';

const RECORDED = join(import.meta.dirname, 'testdata/upgrade');
const LATER = { later: { note: 'of a newer build' } };

let cluster: Cluster;

afterEach(() => cluster?.stop());

/** What a newer build's kinds have besides: an optional field of spec. */
async function addField(name: string): Promise<void> {
  const schema = { type: 'object', properties: { note: { type: 'string', maxLength: 64 } } };
  const path = '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later';
  await cluster.controlPlane.kubectl([
    'patch',
    'crd',
    `${name}.ipam.berth.dev`,
    '--type=json',
    '-p',
    JSON.stringify([{ op: 'add', path, value: schema }]),
  ]);
}

/** Sets the field on an object; an API server serves a changed kind only after a moment. */
async function setField(resource: 'ippool' | 'ipr', name: string): Promise<void> {
  await waitFor(`${resource} ${name} can have the new field`, async () => {
    const patch = ['patch', resource, name, '--type=merge', '-p', JSON.stringify({ spec: LATER })];
    return (await cluster.controlPlane.kubectl([...patch, '-o', 'json'])).includes('of a newer build');
  });
}

const only = async (): Promise<IPReservation> => {
  const [reservation, ...more] = (await cluster.reservations()).values();
  if (reservation === undefined || more.length > 0)
    throw new Error(`${more.length + 1} reservations, not one`);
  return reservation;
};

describe('on kinds of a newer build', () => {
  test('a pool and a reservation keep what this build does not know, through every step of their lives', async () => {
    cluster = await startCluster({ name: 'upgrade-kinds' });
    const agent = cluster.agent('node-1');
    await cluster.createPool('p', { network: 'n', subnet: '10.0.0.0/29', default: true, cooldown: '1h' });
    await addField('ippools');
    await addField('ipreservations');
    await setField('ippool', 'p');

    const pod = await cluster.createPod('node-1', 'a');
    const ipam = agent.ipam({ network: 'n' });
    const [address] = addressesOf(await callSocket(agent.socket, podCall('ADD', pod, ipam)));
    await setField('ipr', `n.${address}`);

    // The sandbox is made anew.
    const again = podCall('ADD', pod, ipam, { containerID: 'c-anew' });
    expect(addressesOf(await callSocket(agent.socket, again))).toEqual([address]);
    expect((await only()).spec).toMatchObject({ state: 'Bound', owner: { containerID: 'c-anew' }, ...LATER });

    expect(await callSocket(agent.socket, { ...again, command: 'DEL' })).toMatchObject({ exitCode: 0 });
    await waitFor('the address is released', async () => (await only()).spec.state === 'Released');
    expect((await only()).spec).toMatchObject(LATER);

    // The operator counts it, in the status of a pool whose spec it leaves alone.
    await cluster.whenPool('p', 'the pool counts it', (pool) => pool.status?.released === '1');
    expect((await cluster.api.get(ipPools, { name: 'p' })).spec).toMatchObject(LATER);
  });
});

describe('with what the first build has left', () => {
  interface Recorded {
    readonly calls: readonly { readonly pod: TestPod; readonly stdout: string }[];
    readonly reservations: readonly IPReservation[];
  }

  test('an ADD has the answer it had, writes nothing, and its DEL releases the addresses', async () => {
    // What was recorded of the first build, by a test like this one.
    const { calls, reservations } = JSON.parse(
      await readFile(join(RECORDED, 'objects.json'), 'utf8'),
    ) as Recorded;
    // No pod of that time is there any more: the grace keeps the operator from taking its addresses.
    cluster = await startCluster({ name: 'upgrade-journal', operatorFlags: { 'orphan-grace': '1h' } });
    const agent = cluster.agent('node-1');
    await agent.program.stop();
    const both = { network: 'default', default: true, cooldown: '1h' };
    for (const [name, spec] of [
      ['first-v4', { ...both, subnet: '10.9.0.0/24', gateway: '10.9.0.1' }],
      ['first-v6', { ...both, subnet: 'fd00:9::/64' }],
    ] as const) {
      await cluster.api.create(ipPools, {
        apiVersion: 'ipam.berth.dev/v1alpha1',
        kind: 'IPPool',
        metadata: { name },
        spec,
      });
    }
    for (const reservation of reservations) await cluster.api.create(ipReservations, reservation);
    await copyFile(join(RECORDED, 'journal.jsonl'), join(agent.stateDir, 'journal.jsonl'));
    await agent.program.start();

    const [kept] = calls;
    if (kept === undefined) throw new Error('nothing was recorded');
    const states = async (): Promise<string[]> =>
      [...(await cluster.reservations()).values()].map(
        ({ metadata, spec }) => `${metadata.name} ${spec.owner?.name} ${spec.state}`,
      );
    const before = await states();
    expect(before.filter((line) => line.endsWith('kept Bound'))).toHaveLength(2);
    expect(before.filter((line) => line.endsWith('given-back Released'))).toHaveLength(2);
    const add = await callSocket(agent.socket, podCall('ADD', kept.pod, agent.ipam()));
    expect(add.stdout).toBe(kept.stdout);
    expect(await states()).toEqual(before);
    expect(agent.program.log()).not.toContain('the journal is damaged');

    const del = await callSocket(agent.socket, podCall('DEL', kept.pod, agent.ipam()));
    expect(del).toMatchObject({ exitCode: 0 });
    await waitFor('both addresses are released', async () =>
      (await states()).every((line) => line.endsWith(' Released')),
    );
  });
});

describe('while agent and binary are replaced', () => {
  const PODS = 24;
  const WIDTH = 4;

  test('every DEL succeeds, an ADD succeeds or says to try again, and each address is given back once', async () => {
    cluster = await startCluster({ name: 'upgrade-rollout' });
    const agent = cluster.agent('node-1');
    await cluster.createPool('p', { network: 'n', subnet: '10.0.0.0/24', default: true, cooldown: '0s' });
    const bin = join(cluster.directory, 'bin');
    await mkdir(bin);
    // The same program with a byte behind its end: another file, so that it is replaced.
    const newer = join(cluster.directory, 'newer');
    await writeFile(newer, Buffer.concat([await readFile(artefacts.binary), Buffer.alloc(1)]), {
      mode: 0o755,
    });
    const install = (source: string): Promise<string> =>
      run(nodePath, [artefacts.install, `--source=${source}`, `--bin-dir=${bin}`]);
    await install(artefacts.binary);

    let busy = true;
    let replaced = 0;
    const replaceAll = async (): Promise<void> => {
      // At least twice, and as long as there are calls.
      while (busy || replaced < 2) {
        expect(await install(replaced % 2 === 0 ? newer : artefacts.binary)).toContain(
          '"outcome":"replaced"',
        );
        await agent.program.stop();
        await agent.program.start();
        replaced += 1;
      }
    };
    const call = (verb: 'ADD' | 'DEL', pod: TestPod): Promise<CniOutcome> =>
      callBinary(join(bin, 'berth'), podCall(verb, pod, agent.ipam({ network: 'n' })));
    const given: string[] = [];
    const live = async (name: string): Promise<void> => {
      const pod = await cluster.createPod('node-1', name);
      let add = await call('ADD', pod);
      // As a runtime does; how often is a matter of how busy the machine is.
      while (add.exitCode !== 0 && codeOf(add) === 11) add = await call('ADD', pod);
      given.push(...addressesOf(add));
      expect(await call('DEL', pod)).toMatchObject({ exitCode: 0 });
    };
    const names = Array.from({ length: PODS }, (_, index) => `pod-${index}`);
    const calls = inParallel(WIDTH, names, live).finally(() => {
      busy = false;
    });
    await Promise.all([calls, replaceAll()]);
    expect(given).toHaveLength(PODS);
    await waitFor('no reservation is left', async () => (await cluster.reservations()).size === 0);
  });
});

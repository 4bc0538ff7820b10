/** DEL, CHECK, GC, STATUS and VERSION: the rules of verbrules.ts. */
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { deletesDir, MARKER_FILE, SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';
import { startCluster, type TestPod } from '../harness/cluster.ts';
import { type CniOutcome, codeOf } from '../harness/cni.ts';
import { waitFor } from '../harness/wait.ts';
import { Chapter } from './testing/chapter.ts';
import { LATER_NETWORK, proveGcRules } from './testing/gc.ts';
import { isOld } from './testing/old.ts';
import { addressesIn, bareCall, expectError, type Shape, SILENCE, Subject } from './testing/subject.ts';

const chapter = new Chapter('verbs');
const rule: Chapter['rule'] = (id, prove) => chapter.rule(id, prove);
let subject: Subject;

const BOTH: Shape = { ipam: { pools: ['v4', 'v6'] } };
/** All that GC requires of the environment besides its name. */
const PATH = { CNI_PATH: '/opt/cni/bin' };
const NEVER: TestPod = { namespace: 'default', name: 'never', uid: 'never-was', node: 'node-1' };

beforeAll(async () => {
  const cluster = await startCluster({ name: 'conformance-verbs' });
  subject = new Subject(cluster, cluster.agent('node-1'));
  const common = { network: 'conf', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/24', gateway: '10.1.0.1' });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/64' });
  await cluster.createPool('full', { ...common, subnet: '10.2.0.0/24', ranges: [] });
});

afterAll(() => subject?.cluster.stop());

async function tidy(): Promise<void> {
  await subject.giveBack();
  const left = [...(await subject.cluster.reservations()).values()].filter(({ spec }) => !isOld(spec));
  expect(left, 'a test has left a reservation').toEqual([]);
}

describe('DEL', () => {
  afterEach(tidy);

  rule('del-gives-back', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    expect(addressesIn(outcome)).toHaveLength(2);
    expect(await subject.call('DEL', pod, { ...BOTH, version })).toEqual(SILENCE);
    expect(await subject.reservationsOf(pod)).toEqual([]);
  });

  rule('del-twice', async (version) => {
    const { pod } = await subject.add({ ...BOTH, version });
    for (let i = 0; i < 3; i += 1) {
      expect(await subject.call('DEL', pod, { ...BOTH, version })).toEqual(SILENCE);
    }
  });

  rule('del-of-nothing', async (version) => {
    expect(await subject.call('DEL', NEVER, { ...BOTH, version })).toEqual(SILENCE);
    const containerID = 'c'.repeat(200);
    expect(await subject.call('DEL', NEVER, { ...BOTH, version, containerID })).toEqual(SILENCE);
  });

  rule('del-without-netns', async () => {
    for (const CNI_NETNS of [undefined, '', '/var/run/netns/gone']) {
      const { pod } = await subject.add(BOTH);
      expect(await subject.call('DEL', pod, { ...BOTH, env: { CNI_NETNS } })).toEqual(SILENCE);
      expect(await subject.reservationsOf(pod)).toEqual([]);
    }
  });

  rule('del-prev-result', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    const config = { prevResult: outcome.output };
    expect(await subject.call('DEL', pod, { ...BOTH, version, config })).toEqual(SILENCE);
    expect(await subject.reservationsOf(pod)).toEqual([]);
    const other = await subject.add({ ...BOTH, version });
    expect(await subject.call('DEL', other.pod, { ...BOTH, version })).toEqual(SILENCE);
    expect(await subject.reservationsOf(other.pod)).toEqual([]);
  });

  rule('del-one-interface', async () => {
    const pod = await subject.pod();
    const net2 = await subject.call('ADD', pod, { ...BOTH, ifname: 'net2' });
    await subject.call('ADD', pod, { ...BOTH, ifname: 'net1' });
    expect(await subject.call('DEL', pod, { ...BOTH, ifname: 'net1' })).toEqual(SILENCE);
    const left = (await subject.reservationsOf(pod)).map(({ spec }) => spec.address);
    expect(left.toSorted()).toEqual(addressesIn(net2).map((each) => each.split('/')[0]));
  });

  rule('del-parameters', async () => {
    for (const name of ['CNI_CONTAINERID', 'CNI_IFNAME']) {
      expectError(await subject.call('DEL', NEVER, { ...BOTH, env: { [name]: undefined } }), 4, name);
    }
  });

  rule('del-changed-configuration', async () => {
    const changes: Shape[] = [
      { config: { name: undefined } },
      { config: { name: '../conformance' } },
      { ipam: { subnet: '10.9.0.0/16', type: 'host-local' } },
      { ipam: { pools: 'v4' } },
      { config: { prevResult: 'lost', args: { cni: { ips: 7 } }, runtimeConfig: { ipRanges: [[{}]] } } },
      { env: { CNI_ARGS: 'IgnoreUnknown' } },
    ];
    for (const change of changes) {
      const { pod } = await subject.add(BOTH);
      expect(await subject.call('DEL', pod, change), JSON.stringify(change)).toEqual(SILENCE);
      expect(await subject.reservationsOf(pod)).toEqual([]);
    }
  });
});

describe('CHECK', () => {
  afterEach(tidy);

  const check = (pod: TestPod, version: string, prevResult?: unknown): Promise<CniOutcome> =>
    subject.call('CHECK', pod, { ...BOTH, version, config: { prevResult } });

  rule('check-since', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    expectError(await check(pod, version, outcome.output), 1, `"${version}" does not allow CHECK`);
  });

  rule('check-agrees', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    expect(await check(pod, version, outcome.output)).toEqual(SILENCE);
  });

  /** The result of an ADD, as `change` has made it. */
  async function changed(
    version: string,
    change: (ips: { address: string }[]) => object[],
  ): Promise<CniOutcome> {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    const ips = addressesIn(outcome).map((address) => ({ address }));
    return check(pod, version, { ...outcome.output, ips: change(ips) });
  }

  rule('check-chain', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    const ips = addressesIn(outcome).map((address) => ({ address, interface: 1, gateway: '10.1.0.200' }));
    const prevResult = {
      cniVersion: version,
      interfaces: [{ name: 'veth0' }, { name: 'net1', sandbox: '/var/run/netns/x' }],
      ips: [{ address: '192.0.2.1/24', interface: 0 }, ...ips.toReversed()],
      routes: [{ dst: '198.51.100.0/24' }],
    };
    expect(await check(pod, version, prevResult)).toEqual(SILENCE);
  });

  rule('check-missing-address', async (version) => {
    expectError(
      await changed(version, (ips) => ips.slice(1)),
      106,
      /10\.1\.0\.\d+ .*prevResult does not have it/,
    );
    expectError(await changed(version, () => []), 106);
  });

  rule('check-unreserved-address', async (version) => {
    const stranger = { address: '10.1.0.1/24' };
    const outcome = await changed(version, (ips) => [...ips, stranger]);
    expectError(outcome, 106, /prevResult has address 10\.1\.0\.1 of pool v4, which is not reserved/);
  });

  rule('check-missing-reservation', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    const [name = ''] = (await subject.reservationsOf(pod)).map(({ metadata }) => metadata.name);
    await subject.cluster.api.delete(ipReservations, { name });
    expectError(await check(pod, version, outcome.output), 106, `${name} is missing`);
  });

  rule('check-reservation-of-another', async (version) => {
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    const [mine] = await subject.reservationsOf(pod);
    if (mine === undefined) throw new Error('the ADD has left no reservation');
    const name = mine.metadata.name ?? '';
    const owner = { ...mine.spec.owner, kind: 'Pod' as const, uid: 'another', containerID: 'another' };
    await subject.cluster.api.delete(ipReservations, { name });
    await subject.cluster.api.create(ipReservations, {
      ...mine,
      metadata: { name },
      spec: { ...mine.spec, owner },
    });
    expectError(await check(pod, version, outcome.output), 106, `${name} is Bound and not this attachment's`);
    await subject.cluster.api.delete(ipReservations, { name });
  });

  rule('check-after-del', async (version) => {
    expectError(await check(NEVER, version), 106);
    const { pod, outcome } = await subject.add({ ...BOTH, version });
    await subject.call('DEL', pod, { ...BOTH, version });
    expectError(await check(pod, version, outcome.output), 106, 'no reservation');
  });

  rule('check-without-prev-result', async () => {
    const { pod } = await subject.add(BOTH);
    for (const prevResult of [undefined, null]) {
      expect(await check(pod, '1.1.0', prevResult)).toEqual(SILENCE);
    }
  });

  rule('check-parameters', async () => {
    const { pod } = await subject.add(BOTH);
    for (const name of ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']) {
      expectError(await subject.call('CHECK', pod, { ...BOTH, env: { [name]: undefined } }), 4, name);
    }
  });
});

const configuration = (more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> =>
  subject.configuration(more);

proveGcRules(chapter, () => subject, tidy);

describe('STATUS', () => {
  afterEach(tidy);

  rule('status-since', async (version) => {
    const outcome = await bareCall('STATUS', configuration({ cniVersion: version }));
    expectError(outcome, 1, `"${version}" does not allow STATUS`);
  });

  rule('status-ready', async () => {
    expect(await bareCall('STATUS', configuration())).toEqual(SILENCE);
  });

  rule('status-not-available', async () => {
    const stateDir = join(subject.cluster.directory, 'state-of-nobody');
    const config = configuration({ ipam: subject.agent.ipam({ stateDir }) });
    expectError(await bareCall('STATUS', config), 50, 'yet');
    const marker = join(deletesDir(stateDir), MARKER_FILE);
    await mkdir(deletesDir(stateDir), { recursive: true });
    await writeFile(marker, '');
    for (const [age, code] of [
      [3600, 50],
      [61, 50],
      [30, 0],
    ] as const) {
      const touched = new Date(Date.now() - age * 1000);
      await utimes(marker, touched, touched);
      expect(codeOf(await bareCall('STATUS', config)), `touched ${age} s ago`).toBe(code);
    }
  });

  rule('status-informs-only', async () => {
    const stateDir = join(subject.cluster.directory, 'state-of-another');
    const shape = { ipam: { ...BOTH.ipam, stateDir } };
    expectError(await bareCall('STATUS', configuration({ ipam: subject.agent.ipam(shape.ipam) })), 50);
    const { pod, outcome } = await subject.add(shape);
    expect(addressesIn(outcome)).toHaveLength(2);
    expect(await subject.call('CHECK', pod, shape)).toEqual(SILENCE);
    expect(await subject.call('DEL', pod, shape)).toEqual(SILENCE);
  });

  rule('status-full-pool', async () => {
    const ipam = { pools: ['full'] };
    expectError((await subject.add({ ipam })).outcome, 101);
    expect(await bareCall('STATUS', configuration({ ipam: subject.agent.ipam(ipam) }))).toEqual(SILENCE);
  });
});

describe('VERSION', () => {
  rule('version-form', async (version) => {
    const { exitCode, output } = await bareCall('VERSION', { cniVersion: version });
    expect({ exitCode, output }).toEqual({
      exitCode: 0,
      output: { cniVersion: version, supportedVersions: SUPPORTED_VERSIONS },
    });
  });

  rule('version-any-input', async () => {
    for (const stdin of ['', '{}', '{"cniVersion":""}', '{"cniVersion":"9.9.9"}']) {
      const { exitCode, output } = await bareCall('VERSION', stdin);
      expect({ exitCode, output }).toEqual({
        exitCode: 0,
        output: { cniVersion: '1.1.0', supportedVersions: SUPPORTED_VERSIONS },
      });
    }
  });
});

describe('without an agent', () => {
  let lone: { pod: TestPod; outcome: CniOutcome };

  beforeAll(async () => {
    lone = await subject.add(BOTH);
    await subject.agent.program.kill();
  });

  rule('check-without-agent', async () => {
    const config = { prevResult: lone.outcome.output };
    expectError(await subject.call('CHECK', lone.pod, { ...BOTH, config }), 11, 'agent is away');
  });

  rule('gc-without-agent', async () => {
    const list = { 'cni.dev/valid-attachments': [] };
    expectError(await bareCall('GC', configuration(list), PATH), 11, 'agent is away');
    expect(await subject.reservationsOf(lone.pod)).toHaveLength(2);
  });

  rule('status-while-replaced', async () => {
    const marker = join(deletesDir(subject.agent.stateDir), MARKER_FILE);
    expect(await bareCall('STATUS', configuration())).toEqual(SILENCE);
    const touched = new Date(Date.now() - 61_000);
    await utimes(marker, touched, touched);
    expectError(await bareCall('STATUS', configuration()), 50, /for \d+ s/);
  });

  rule('del-without-agent', async () => {
    expect(await subject.call('DEL', lone.pod, BOTH)).toEqual(SILENCE);
    expect(await subject.reservationsOf(lone.pod)).toHaveLength(2);
    await subject.agent.program.start();
    await waitFor(
      'the next agent has released it',
      async () => (await subject.reservationsOf(lone.pod)).length === 0,
    );
    expect(await bareCall('STATUS', configuration())).toEqual(SILENCE);
  });
});

describe('without an API server', () => {
  let pod: TestPod;
  /** What was answered meanwhile. */
  let answers: Readonly<Record<'STATUS' | 'ADD' | 'DEL' | 'GC', CniOutcome>>;

  beforeAll(async () => {
    ({ pod } = await subject.add(BOTH));
    await subject.cluster.controlPlane.killApiServer();
    try {
      answers = {
        STATUS: await bareCall('STATUS', configuration()),
        ADD: await subject.call('ADD', NEVER, BOTH),
        DEL: await subject.call('DEL', pod, BOTH),
        GC: await bareCall(
          'GC',
          configuration({ name: LATER_NETWORK, 'cni.dev/valid-attachments': [] }),
          PATH,
        ),
      };
    } finally {
      await subject.cluster.controlPlane.startApiServer();
    }
  });

  rule('status-without-api', async () => {
    expect(answers.STATUS).toEqual(SILENCE);
    expectError(answers.ADD, 11);
  });

  rule('del-without-api', async () => {
    expect(answers.DEL).toEqual(SILENCE);
    await waitFor('it is released', async () => (await subject.reservationsOf(pod)).length === 0);
  });

  rule('gc-without-api', async () => {
    expect(answers.GC).toEqual(SILENCE);
    await waitFor('it is released', async () => {
      const owners = [...(await subject.cluster.reservations()).values()].map(({ spec }) => spec.owner);
      return !owners.some((owner) => owner?.cniNetwork === LATER_NETWORK);
    });
  });
});

chapter.close();

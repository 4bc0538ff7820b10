/** Behaviours of host-local and static, and of Cilium as a caller: the rules of referencerules.ts. */
import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { ErrorCode } from '../../plugin/protocol.ts';
import { startCluster, type TestPod } from '../harness/cluster.ts';
import { type CniOutcome, codeOf } from '../harness/cni.ts';
import { Chapter } from './testing/chapter.ts';
import { addressesIn, expectError, type Shape, SILENCE, Subject } from './testing/subject.ts';

const chapter = new Chapter('reference');
const rule: Chapter['rule'] = (id, prove) => chapter.rule(id, prove);
let subject: Subject;

const DNS = { nameservers: ['10.1.0.2'], domain: 'example.org', search: ['example.org'], options: ['edns0'] };
const ROUTES = [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.0.254' }];

beforeAll(async () => {
  const cluster = await startCluster({ name: 'conformance-reference' });
  subject = new Subject(cluster, cluster.agent('node-1'));
  const pools = {
    v4: {
      subnet: '10.1.0.0/24',
      ranges: ['10.1.0.100-10.1.0.199'],
      gateway: '10.1.0.1',
      routes: ROUTES,
      dns: DNS,
    },
    v6: { subnet: 'fd00:1::/64', gateway: 'fd00:1::1' },
    'plain-v4': { subnet: '10.2.0.0/29' },
    'plain-v6': { subnet: 'fd00:2::/125' },
    ends: { subnet: '10.3.0.0/24', ranges: ['10.3.0.10-10.3.0.11', '10.3.0.20'] },
    next: { subnet: '10.4.0.0/24', ranges: ['10.4.0.10'] },
    p31: { subnet: '10.5.0.0/31' },
    p32: { subnet: '10.5.1.1/32' },
    p127: { subnet: 'fd00:5::/127' },
    p128: { subnet: 'fd00:5:1::1/128' },
    routed: { subnet: '10.6.0.0/30', gateway: '10.6.0.1' },
    resting: { subnet: '10.7.0.0/24', ranges: ['10.7.0.1-10.7.0.3'], cooldown: '1h' },
  };
  const common = { network: 'conf', cooldown: '0s' };
  await Promise.all(
    Object.entries(pools).map(([name, spec]) => cluster.createPool(name, { ...common, ...spec })),
  );
});

afterEach(async () => {
  await subject.giveBack();
  const bound = [...(await subject.cluster.reservations()).values()].filter(
    ({ spec }) => spec.state === 'Bound',
  );
  expect(bound, 'a test has left a reservation').toEqual([]);
});

afterAll(() => subject?.cluster.stop());

const of = (...pools: string[]): Shape => ({ ipam: { network: 'conf', pools } });
/** An ADD that asks for addresses by value through `args.cni.ips`. */
const asking = (ips: readonly string[], ...pools: string[]): Shape => ({
  ...of(...pools),
  config: { args: { cni: { ips } } },
});

/** ADDs until the pools are full. @returns the addresses, sorted as text */
async function fill(...pools: string[]): Promise<string[]> {
  const given: string[] = [];
  for (;;) {
    const { outcome } = await subject.add(of(...pools));
    if (codeOf(outcome) === ErrorCode.exhausted) return given.toSorted();
    given.push(...addressesIn(outcome));
  }
}

rule('host-local-families', async () => {
  const { outcome } = await subject.add(of('v4', 'v6'));
  expect(outcome.output?.['ips']).toEqual([
    { address: expect.stringMatching(/^10\.1\.0\.1\d\d\/24$/), gateway: '10.1.0.1' },
    { address: expect.stringMatching(/^fd00:1::.*\/64$/), gateway: 'fd00:1::1' },
  ]);
});

rule('host-local-range-sets', async () => {
  expect(addressesIn((await subject.add(of('v4', 'plain-v4'))).outcome)).toHaveLength(1);
});

rule('host-local-ip-ranges', async () => {
  const ipRanges = [[{ subnet: '10.9.0.0/24', rangeStart: '10.9.0.7' }]];
  const { pod, outcome } = await subject.add({ ...of('v4'), config: { runtimeConfig: { ipRanges } } });
  expectError(outcome, 2, /runtimeConfig\.ipRanges.*10\.9\.0\.7/);
  expect(await subject.reservationsOf(pod)).toEqual([]);
  const none = await subject.add({ ...of('v4'), config: { runtimeConfig: { ipRanges: [] } } });
  expect(addressesIn(none.outcome)).toHaveLength(1);
});

rule('host-local-next-range', async () => {
  expect(await fill('ends', 'next')).toEqual([
    '10.3.0.10/24',
    '10.3.0.11/24',
    '10.3.0.20/24',
    '10.4.0.10/24',
  ]);
});

rule('host-local-range-bounds', async () => {
  expect(await fill('ends')).toEqual(['10.3.0.10/24', '10.3.0.11/24', '10.3.0.20/24']);
});

rule('host-local-network-addresses', async () => {
  expect(await fill('plain-v4')).toEqual([1, 2, 3, 4, 5, 6].map((n) => `10.2.0.${n}/29`));
  expect(await fill('plain-v6')).toEqual([1, 2, 3, 4, 5, 6, 7].map((n) => `fd00:2::${n}/125`));
  const first = await subject.add(asking(['10.2.0.0'], 'plain-v4'));
  expectError(first.outcome, 103, 'network, broadcast or anycast');
});

rule('host-local-small-subnets', async () => {
  expect(await fill('p31')).toEqual(['10.5.0.0/31', '10.5.0.1/31']);
  expect(await fill('p32')).toEqual(['10.5.1.1/32']);
  expect(await fill('p127')).toEqual(['fd00:5::/127', 'fd00:5::1/127']);
  expect(await fill('p128')).toEqual(['fd00:5:1::1/128']);
});

rule('host-local-gateway', async () => {
  expect(await fill('routed')).toEqual(['10.6.0.2/30']);
  expectError((await subject.add(asking(['10.6.0.1'], 'routed'))).outcome, 103, 'it is the gateway');
});

rule('host-local-default-gateway', async () => {
  const { outcome } = await subject.add(asking(['10.2.0.1'], 'plain-v4'));
  expect(outcome.output?.['ips']).toEqual([{ address: '10.2.0.1/29' }]);
});

rule('host-local-no-immediate-reuse', async () => {
  const first = await subject.add(of('resting'));
  await subject.call('DEL', first.pod, of('resting'));
  const next = [await subject.add(of('resting')), await subject.add(of('resting'))];
  const others = next.flatMap(({ outcome }) => addressesIn(outcome));
  expect(new Set([...addressesIn(first.outcome), ...others]).size).toBe(3);
  // Nothing else is free now, and an address that rests is better than none.
  const last = await subject.add(of('resting'));
  expect(addressesIn(last.outcome)).toEqual(addressesIn(first.outcome));
});

rule('host-local-routes', async () => {
  const { outcome } = await subject.add(of('v4', 'v6'));
  expect(outcome.output?.['routes']).toEqual(ROUTES);
  const refused = await subject.add({ ipam: { pools: ['v4'], routes: ROUTES } });
  expectError(refused.outcome, 7, '"ipam\\.routes"');
});

rule('host-local-dns', async () => {
  const { outcome } = await subject.add({ ...of('v4'), config: { dns: { nameservers: ['192.0.2.1'] } } });
  expect(outcome.output?.['dns']).toEqual(DNS);
  for (const key of ['dns', 'resolvConf']) {
    const refused = await subject.add({ ipam: { pools: ['v4'], [key]: '/etc/resolv.conf' } });
    expectError(refused.outcome, 7, `"ipam\\.${key}"`);
  }
});

rule('host-local-missing-ipam', async () => {
  const config = { args: { cni: { ips: ['10.1.0.7'] } }, runtimeConfig: { ips: ['10.1.0.7'] } };
  const pod = await subject.pod();
  // Without `ipam` nothing says where this test's agent is, so it is called at its socket.
  const outcome = await subject.agent.call({
    command: 'ADD',
    containerID: 'c1',
    ifname: 'net1',
    args: { K8S_POD_NAMESPACE: pod.namespace, K8S_POD_NAME: pod.name, K8S_POD_UID: pod.uid },
    config: { cniVersion: '1.1.0', name: 'conformance', ...config },
  });
  expectError(outcome, 7, '"ipam"');
  expectError((await subject.add({ ipam: { type: undefined } })).outcome, 7, '"ipam\\.type"');
});

rule('host-local-args', async () => {
  const { pod } = await subject.add(of('v4'));
  const { env } = subject.prepare('ADD', pod, { args: { FOO: 'BAR' } });
  const CNI_ARGS = env['CNI_ARGS']?.replace('IgnoreUnknown=1;', '');
  expect(CNI_ARGS).toMatch(/^K8S_POD_NAMESPACE=.*;FOO=BAR$/);
  expect(
    addressesIn(await subject.call('ADD', pod, { ...of('v4'), ifname: 'net2', env: { CNI_ARGS } })),
  ).toHaveLength(1);
});

rule('host-local-networks-apart', async () => {
  const { pod, outcome } = await subject.add(of('v4'));
  const other = await subject.call('ADD', pod, { ...of('v4', 'v6'), config: { name: 'another-network' } });
  expect(other).toEqual(outcome);
  expect(await subject.reservationsOf(pod)).toHaveLength(1);
});

/** The ways to ask for addresses by value that the reference plugins have. */
const CHANNELS: readonly [string, (ips: readonly string[]) => Shape][] = [
  ['IP of CNI_ARGS', (ips) => ({ args: { IP: ips.join(',') } })],
  ['args.cni.ips', (ips) => ({ config: { args: { cni: { ips } } } })],
  ['runtimeConfig.ips', (ips) => ({ config: { runtimeConfig: { ips } } })],
];

rule('request-channels', async () => {
  for (const [channel, ask] of CHANNELS) {
    const one = await subject.add({ ...of('v4'), ...ask(['10.1.0.150']) });
    expect(addressesIn(one.outcome), channel).toEqual(['10.1.0.150/24']);
    const several = await subject.add({ ...of('v4'), ...ask(['10.1.0.160/24', '10.1.0.155']) });
    expect(addressesIn(several.outcome), channel).toEqual(['10.1.0.160/24', '10.1.0.155/24']);
    await subject.giveBack();
  }
});

rule('request-prefix', async () => {
  for (const text of ['10.1.0.150', '10.1.0.151/24']) {
    const { outcome } = await subject.add(asking([text], 'v4'));
    expect(addressesIn(outcome)).toEqual([`${text.split('/')[0]}/24`]);
  }
  const { outcome } = await subject.add(asking(['10.1.0.152/16'], 'v4'));
  expectError(outcome, 103, "the prefix length is /16, the subnet's is /24");
});

rule('request-precedence', async () => {
  const { outcome } = await subject.add({
    ...of('v4'),
    args: { IP: '10.1.0.153,10.1.0.151' },
    config: {
      args: { cni: { ips: ['10.1.0.152', '10.1.0.151/24'] } },
      runtimeConfig: { ips: ['10.1.0.151'] },
    },
  });
  expect(addressesIn(outcome)).toEqual(['10.1.0.151/24', '10.1.0.152/24', '10.1.0.153/24']);
});

rule('request-families', async () => {
  const { outcome } = await subject.add(asking(['fd00:1::77', '10.1.0.177'], 'v4', 'v6'));
  expect(addressesIn(outcome)).toEqual(['10.1.0.177/24', 'fd00:1::77/64']);
});

rule('request-malformed', async () => {
  for (const [channel, ask] of CHANNELS) {
    for (const text of ['10.1.0.300', '10.1.0.7/33', '010.1.0.7', 'address', 'fe80::1%eth0']) {
      expectError((await subject.add({ ...of('v4'), ...ask([text]) })).outcome, 7, channel);
    }
  }
});

rule('request-elsewhere', async () => {
  for (const text of ['192.0.2.1', '10.3.0.15']) {
    const { pod, outcome } = await subject.add(asking(['10.1.0.150', text], 'v4', 'v6'));
    expectError(outcome, 103, text);
    expect(await subject.reservationsOf(pod)).toEqual([]);
  }
});

rule('request-outside-ranges', async () => {
  expect(addressesIn((await subject.add(asking(['10.1.0.7'], 'v4'))).outcome)).toEqual(['10.1.0.7/24']);
});

rule('request-taken', async () => {
  const holder = await subject.add(asking(['10.1.0.150'], 'v4'));
  const { pod, outcome } = await subject.add(asking(['10.1.0.151', '10.1.0.150'], 'v4', 'v6'));
  expectError(outcome, 102, `10\\.1\\.0\\.150 .* bound to pod default/${holder.pod.name}[ ,]`);
  expect(await subject.reservationsOf(pod)).toEqual([]);
});

rule('static-same-twice', async () => {
  const pods = [await subject.pod(), await subject.pod(), await subject.pod()];
  const outcomes = await Promise.all(
    pods.map((pod) => subject.call('ADD', pod, asking(['10.1.0.150'], 'v4'))),
  );
  expect(outcomes.map(codeOf).toSorted((a, b) => a - b)).toEqual([0, 102, 102]);
});

rule('static-addresses', async () => {
  const { outcome } = await subject.add({ ipam: { addresses: [{ address: '10.1.0.7/24' }] } });
  expectError(outcome, 7, '"ipam\\.addresses"');
});

rule('static-gateway', async () => {
  const { outcome } = await subject.add({ ...of('v4'), args: { IP: '10.1.0.7/24', GATEWAY: '10.1.0.254' } });
  expect(outcome.output?.['ips']).toEqual([{ address: '10.1.0.7/24', gateway: '10.1.0.1' }]);
});

/** The ADD and DEL with which Cilium's agent gets the ingress address of its node. */
const INGRESS: TestPod = {
  namespace: 'kube-system',
  name: 'cilium-ingress-node-1',
  uid: '',
  node: 'node-1',
};
const CILIUM: Shape = {
  ...of('v4', 'v6'),
  version: '0.3.1',
  config: { name: 'cilium', type: 'cilium-cni', 'enable-debug': false },
  containerID: INGRESS.name,
  ifname: 'eth0',
  env: {
    CNI_NETNS: '/proc/1/ns/net',
    CNI_NETNS_OVERRIDE: '1',
    CNI_ARGS: `IgnoreUnknown=true;K8S_POD_NAME=${INGRESS.name};K8S_POD_NAMESPACE=${INGRESS.namespace}`,
  },
};
const cilium = (command: 'ADD' | 'DEL'): Promise<CniOutcome> => subject.call(command, INGRESS, CILIUM);

rule('cilium-node-owner', async () => {
  const { output } = await cilium('ADD');
  expect(output).toEqual({
    cniVersion: '0.3.1',
    ips: [
      { version: '4', address: expect.stringMatching(/^10\.1\.0\.\d+\/24$/), gateway: '10.1.0.1' },
      { version: '6', address: expect.stringMatching(/^fd00:1::.*\/64$/), gateway: 'fd00:1::1' },
    ],
    routes: ROUTES,
    dns: DNS,
  });
  const owners = [...(await subject.cluster.reservations()).values()]
    .filter(({ spec }) => spec.state === 'Bound')
    .map(({ spec }) => spec.owner);
  const owner = {
    kind: 'Node',
    node: 'node-1',
    containerID: INGRESS.name,
    ifname: 'eth0',
    cniNetwork: 'cilium',
  };
  expect(owners).toEqual([owner, owner]);
});

rule('cilium-every-start', async () => {
  const first = await cilium('ADD');
  expect(addressesIn(first)).toHaveLength(2);
  expect(await cilium('ADD')).toEqual(first);
  await subject.agent.program.kill();
  await subject.agent.program.start();
  expect(await cilium('ADD')).toEqual(first);
});

rule('cilium-lost-state', async () => {
  const first = await cilium('ADD');
  expect(addressesIn(first)).toHaveLength(2);
  await subject.agent.program.kill();
  await rm(subject.agent.stateDir, { recursive: true });
  await subject.agent.program.start();
  expect(await cilium('ADD')).toEqual(first);
});

rule('cilium-del', async () => {
  expect(await cilium('DEL')).toEqual(SILENCE);
  expect(addressesIn(await cilium('ADD'))).toHaveLength(2);
  for (let i = 0; i < 2; i += 1) expect(await cilium('DEL')).toEqual(SILENCE);
});

chapter.close();

/** Every error code of docs/errors.md through the compiled binary, and the whole of what it prints. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { ErrorCode } from '../../plugin/protocol.ts';
import { startCluster } from '../harness/cluster.ts';
import { type CniOutcome, runPlugin } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { addressesIn, Subject } from './testing/subject.ts';

let subject: Subject;
/** The codes that a test has seen. */
const seen = new Set<number>();

beforeAll(async () => {
  const cluster = await startCluster({ name: 'errorcodes' });
  subject = new Subject(cluster, cluster.agent('node-1'));
  const common = { network: 'conf', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/24', gateway: '10.1.0.1' });
  await cluster.createPool('one', { ...common, subnet: '10.2.0.0/24', ranges: ['10.2.0.7'] });
  await cluster.createPool('elsewhere', {
    ...common,
    subnet: '10.3.0.0/24',
    nodeSelector: { matchLabels: { rack: 'b' } },
  });
});

afterAll(() => subject?.cluster.stop());

interface CniError {
  readonly cniVersion?: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** The call has failed, and has printed exactly this. */
function expectError(outcome: CniOutcome, error: CniError): void {
  expect(outcome).toMatchObject({ exitCode: 1, output: { cniVersion: '1.1.0', ...error } });
  expect(outcome.stdout).toBe(`${JSON.stringify({ cniVersion: '1.1.0', ...error })}\n`);
  seen.add(error.code);
}

const KNOWN_KEYS = 'type, network, pools, socket, stateDir, annotatePod';

test('1, incompatibleVersion: a version that Berth does not speak, and a verb that a version does not have', async () => {
  expectError((await subject.add({ version: '9.9.9' })).outcome, {
    code: 1,
    msg: 'cniVersion "9.9.9" is not supported; use one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
  });
  expectError(await subject.call('CHECK', await subject.pod(), { version: '0.3.1' }), {
    cniVersion: '0.3.1',
    code: 1,
    msg: 'cniVersion "0.3.1" does not allow CHECK',
  });
});

test('2, unsupportedField: the capability ipRanges', async () => {
  const config = { runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/24' }]] } };
  expectError((await subject.add({ config })).outcome, {
    code: 2,
    msg: 'unsupported field in the network configuration: "runtimeConfig.ipRanges" with the value [[{"subnet":"10.9.0.0/24"}]]',
    details:
      'addresses come from pools (kind IPPool); remove ipRanges from the capabilities of the network configuration',
  });
});

test('4, invalidEnvironment: a variable that is missing, and CNI_ARGS that are no pairs', async () => {
  expectError((await subject.add({ env: { CNI_CONTAINERID: undefined } })).outcome, {
    code: 4,
    msg: 'ADD needs the environment variables CNI_CONTAINERID',
  });
  expectError((await subject.add({ version: '0.4.0', env: { CNI_ARGS: 'IgnoreUnknown' } })).outcome, {
    cniVersion: '0.4.0',
    code: 4,
    msg: 'CNI_ARGS: "IgnoreUnknown" is not of the form KEY=VALUE',
  });
});

test('6, decodingFailure: input that is no JSON object', async () => {
  const { env } = subject.prepare('ADD', await subject.pod());
  expectError(await runPlugin(artefacts.binary, env, '[]'), {
    code: 6,
    msg: 'the configuration is no JSON object',
  });
});

test('7, invalidConfig: an unknown key of ipam', async () => {
  expectError((await subject.add({ version: '1.0.0', ipam: { subnet: '10.0.0.0/8' } })).outcome, {
    cniVersion: '1.0.0',
    code: 7,
    msg: `invalid network configuration: "ipam.subnet": unknown key; remove it (known keys of ipam: ${KNOWN_KEYS})`,
  });
});

test('11, tryAgainLater: a pod that the API server knows under another UID', async () => {
  const pod = await subject.pod();
  expectError(await subject.call('ADD', { ...pod, uid: 'of-yesterday' }), {
    code: 11,
    msg: `pod default/${pod.name}, interface net1: pod default/${pod.name} with UID of-yesterday is not known on node node-1: the API server knows the pod with UID ${pod.uid}`,
    details: 'the pod is new, was re-created or has moved; the runtime will try again',
  });
});

test('50, notAvailable: STATUS on a node where no agent has worked', async () => {
  const stateDir = join(subject.cluster.directory, 'nobody');
  expectError(await subject.call('STATUS', await subject.pod(), { ipam: { stateDir } }), {
    code: 50,
    msg: 'no Berth agent has been ready on this node yet',
    details: `Marker file: ${stateDir}/deletes/.berth-agent. Is the agent's pod running on this node, and what does its log say?`,
  });
});

test('101, exhausted: a pool without a free address', async () => {
  const ipam = { pools: ['one'] };
  expect(addressesIn((await subject.add({ ipam })).outcome)).toEqual(['10.2.0.7/24']);
  const { pod, outcome } = await subject.add({ ipam });
  expectError(outcome, {
    code: 101,
    msg: `pod default/${pod.name}, interface net1: pool one has no free address: 1 bound, 0 held, 0 cooling down, capacity 1`,
    details: 'free addresses, or add ranges to the pool; kubectl get ippools shows the usage',
  });
});

test('102, addressTaken: an address that is another pod’s', async () => {
  const shape = { ipam: { pools: ['v4'] }, config: { runtimeConfig: { ips: ['10.1.0.7'] } } };
  const first = await subject.add(shape);
  const { pod, outcome } = await subject.add(shape);
  expectError(outcome, {
    code: 102,
    msg: `pod default/${pod.name}, interface net1: requested address 10.1.0.7 of pool v4 is taken: bound to pod default/${first.pod.name}, interface net1, on node node-1`,
    details: 'asked for by runtimeConfig.ips\nkubectl get ipreservation conf.10.1.0.7 shows it',
  });
});

test('103, addressNotAllowed: the gateway', async () => {
  const { pod, outcome } = await subject.add({
    ipam: { pools: ['v4'] },
    config: { args: { cni: { ips: ['10.1.0.1'] } } },
  });
  expectError(outcome, {
    code: 103,
    msg: `pod default/${pod.name}, interface net1: requested address 10.1.0.1 can not be given: pool v4: it is the gateway`,
    details: 'asked for by args.cni.ips\npool v4: it is the gateway',
  });
});

test('104, poolNotAllowed: a pool of other nodes', async () => {
  const why = "pool elsewhere admits only a node with rack=b: the node's labels do not match";
  const { pod, outcome } = await subject.add({ ipam: { pools: ['elsewhere'] } });
  expectError(outcome, {
    code: 104,
    msg: `pod default/${pod.name}, interface net1: IPv4: pool elsewhere may not be used by this pod: ${why}`,
    details: `named by ipam.pools of the network configuration\npool elsewhere: ${why}`,
  });
});

test('105, poolNotFound: a pool that does not exist', async () => {
  const { pod, outcome } = await subject.add({ version: '0.2.0', ipam: { pools: ['nowhere'] } });
  expectError(outcome, {
    cniVersion: '0.2.0',
    code: 105,
    msg: `pod default/${pod.name}, interface net1: pool nowhere does not exist`,
    details: 'named by ipam.pools of the network configuration\nkubectl get ippools lists those that do',
  });
});

test('106, checkFailed: a reservation that is gone', async () => {
  const shape = { ipam: { pools: ['v4'] }, config: { runtimeConfig: { ips: ['10.1.0.66'] } } };
  const { pod } = await subject.add(shape);
  await subject.cluster.api.delete(ipReservations, { name: 'conf.10.1.0.66' });
  expectError(await subject.call('CHECK', pod, shape), {
    code: 106,
    msg: `pod default/${pod.name}, interface net1: reservation conf.10.1.0.66 is missing`,
  });
});

test('there is no other code', () => {
  expect([...seen].toSorted((a, b) => a - b)).toEqual(Object.values(ErrorCode).toSorted((a, b) => a - b));
});

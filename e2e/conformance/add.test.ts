/** Configuration, parameters, errors, ADD and its result: the rules of addrules.ts. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type CniAssets, resolveCniPlugins } from '../controlplane/assets.ts';
import { run } from '../controlplane/run.ts';
import { startCluster, type TestPod } from '../harness/cluster.ts';
import { codeOf, runPlugin } from '../harness/cni.ts';
import { inParallel } from '../harness/parallel.ts';
import { artefacts } from '../harness/programs.ts';
import { absentCniDirectories, removeCniCache } from '../quickstart/network.ts';
import { Chapter } from './testing/chapter.ts';
import { addressesIn, expectError, type Shape, SILENCE, Subject } from './testing/subject.ts';
import { OLDEST, WITH_CHECK } from './versions.ts';

const chapter = new Chapter('add');
const rule: Chapter['rule'] = (id, prove) => chapter.rule(id, prove);
let subject: Subject;
let cni: CniAssets;
let cniDirectories: string[] = [];
/** No two runs share it: libcni remembers results by the name of the network. */
const prefix = `berth-conformance-${process.pid}`;

const BOTH: Shape = { ipam: { pools: ['v4', 'v6'] } };
const LONG_ROUTE = { mtu: 1400, advmss: 1360, priority: 50, table: 100, scope: 0 };

beforeAll(async () => {
  cniDirectories = absentCniDirectories();
  cni = await resolveCniPlugins();
  const cluster = await startCluster({ name: 'conformance-add' });
  subject = new Subject(cluster, cluster.agent('node-1'));
  const common = { network: 'conf', cooldown: '0s' };
  await cluster.createPool('v4', {
    ...common,
    subnet: '10.1.0.0/24',
    gateway: '10.1.0.1',
    routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1', ...LONG_ROUTE }],
    dns: { nameservers: ['10.1.0.2'], domain: 'a.example', search: ['a.example'], options: ['ndots:2'] },
  });
  await cluster.createPool('v6', {
    ...common,
    subnet: 'fd00:1::/64',
    gateway: 'fd00:1::1',
    routes: [{ dst: 'fd00:2::/48' }],
    dns: { nameservers: ['fd00:1::2'], domain: 'b.example', search: ['b.example'] },
  });
  await cluster.createPool('empty-v6', { ...common, subnet: 'fd00:3::/64', ranges: [] });
});

afterEach(async () => {
  await subject.giveBack();
  expect((await subject.cluster.reservations()).size, 'a test has left a reservation').toBe(0);
});

afterAll(async () => {
  await removeCniCache(prefix, cniDirectories);
  await subject?.cluster.stop();
});

async function refused(code: number, text: string | RegExp, shape: Shape): Promise<void> {
  expectError(await subject.call('ADD', await subject.pod(), shape), code, text);
}

const results = new Map<string, Promise<Readonly<Record<string, unknown>>>>();

/** The result of an ADD for which two addresses are asked by value, so that all of it is known. */
function known(version: string): Promise<Readonly<Record<string, unknown>>> {
  const ask = async (): Promise<Readonly<Record<string, unknown>>> => {
    const config = { runtimeConfig: { ips: ['10.1.0.7', 'fd00:1::7'] } };
    const { outcome } = await subject.add({ ...BOTH, version, config });
    if (outcome.output === undefined || outcome.exitCode !== 0) throw new Error(outcome.stdout);
    return outcome.output;
  };
  const result = results.get(version) ?? ask();
  results.set(version, result);
  return result;
}

const DNS = {
  nameservers: ['10.1.0.2', 'fd00:1::2'],
  domain: 'a.example',
  search: ['a.example', 'b.example'],
  options: ['ndots:2'],
};
const route4 = (version: string): object => ({
  dst: '0.0.0.0/0',
  gw: '10.1.0.1',
  ...(version === '1.1.0' && LONG_ROUTE),
});
const ROUTE6 = { dst: 'fd00:2::/48' };

rule('config-foreign-keys', async () => {
  const config = {
    cniVersions: ['1.0.0', '1.1.0'],
    bridge: 'cni0',
    isGateway: true,
    capabilities: { ips: true, portMappings: true },
    dns: { nameservers: ['192.0.2.1'] },
    runtimeConfig: { mac: '02:00:00:00:00:01', portMappings: [{ hostPort: 80 }] },
    args: { cni: { labels: [{ key: 'app', value: 'web' }] }, 'example.org': 1 },
    'cni.dev/anything': true,
  };
  expect(addressesIn((await subject.add({ ...BOTH, config })).outcome)).toHaveLength(2);
});

rule('config-name', async () => {
  for (const name of [undefined, '', '-net', '.net', 'a/b', 'a b', 'ä']) {
    await refused(7, '"name"', { ...BOTH, config: { name } });
  }
  const config = { name: 'A1._-z' };
  expect(addressesIn((await subject.add({ ...BOTH, config })).outcome)).toHaveLength(2);
});

rule('config-implied-version', async () => {
  for (const cniVersion of [undefined, '']) {
    const { outcome } = await subject.add({ ipam: { pools: ['v4'] }, config: { cniVersion } });
    expect(outcome.output).toMatchObject({ cniVersion: '0.1.0', ip4: { gateway: '10.1.0.1' } });
  }
});

rule('config-unknown-version', async () => {
  for (const version of ['1.2.0', '0.5.0', '2.0.0', 'latest']) {
    await refused(1, `cniVersion "${version}" is not supported; use one of 0\\.1\\.0, .* 1\\.1\\.0`, {
      version,
    });
  }
});

rule('config-not-decodable', async () => {
  const { env } = subject.prepare('ADD', await subject.pod());
  for (const stdin of ['', '{', '[]', 'null', '"text"']) {
    expectError(await runPlugin(artefacts.binary, env, stdin), 6);
  }
});

rule('config-unknown-ipam-key', () => refused(7, '"ipam\\.pool"', { ipam: { pool: 'v4' } }));

rule('config-unsupported-field', async () => {
  const ipRanges = [[{ subnet: '10.9.0.0/24' }]];
  await refused(2, /"runtimeConfig\.ipRanges".*\[\[\{"subnet":"10\.9\.0\.0\/24"\}\]\]/, {
    ...BOTH,
    config: { capabilities: { ipRanges: true }, runtimeConfig: { ipRanges } },
  });
});

rule('parameters-required', async () => {
  for (const name of ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']) {
    for (const value of [undefined, '']) await refused(4, name, { ...BOTH, env: { [name]: value } });
  }
});

rule('parameters-malformed', async () => {
  await refused(4, 'CNI_CONTAINERID', { ...BOTH, containerID: '../c' });
  await refused(4, 'CNI_IFNAME', { ...BOTH, ifname: 'net/1' });
  await refused(4, 'CNI_IFNAME', { ...BOTH, ifname: 'sixteen-letters-' });
  await refused(4, 'CNI_COMMAND', { ...BOTH, env: { CNI_COMMAND: 'UPDATE' } });
});

rule('parameters-args', async () => {
  await refused(4, /CNI_ARGS: "K8S_POD_NAME" is not/, { ...BOTH, env: { CNI_ARGS: 'FOO=BAR;K8S_POD_NAME' } });
});

rule('parameters-cni-path', async () => {
  const shape = { ...BOTH, env: { CNI_PATH: undefined } };
  const { pod, outcome } = await subject.add(shape);
  expect(addressesIn(outcome)).toHaveLength(2);
  for (const verb of ['CHECK', 'STATUS', 'DEL'] as const) {
    expect(await subject.call(verb, pod, shape)).toEqual(SILENCE);
  }
});

rule('parameters-netns', async () => {
  for (const CNI_NETNS of ['/proc/self/ns/net', '/nowhere']) {
    expect(addressesIn((await subject.add({ ...BOTH, env: { CNI_NETNS } })).outcome)).toHaveLength(2);
  }
});

rule('parameters-no-command', () => refused(4, 'CNI_COMMAND', { ...BOTH, env: { CNI_COMMAND: undefined } }));

rule('error-form', async (version) => {
  const { outcome } = await subject.add({ version, ipam: { pools: ['nowhere'] } });
  expect(outcome.exitCode).not.toBe(0);
  expect(outcome.output).toEqual({
    cniVersion: version,
    code: expect.any(Number),
    msg: expect.stringMatching(/^.+$/),
    details: expect.stringMatching(/./),
  });
  expect(outcome.stdout).toMatch(/^\{.*\}\n$/);
});

rule('error-round-trip', async (version) => {
  const pod = await subject.pod();
  const shape = { version, ipam: { pools: ['nowhere'] }, config: { type: 'ptp' } };
  const own = await subject.call('ADD', pod, shape);
  const { env, config } = subject.prepare('ADD', pod, {
    ...shape,
    env: { CNI_PATH: dirname(artefacts.binary) },
  });
  const passedOn = await runPlugin(join(cni.directory, 'ptp'), env, JSON.stringify(config));
  const { code, msg, details } = own.output ?? {};
  expect(code).toBe(105);
  expect(passedOn.output).toEqual({ code, msg, details });
});

rule('error-without-version', async () => {
  const { outcome } = await subject.add({ ipam: { pools: ['nowhere'] } });
  expect(outcome.output).toMatchObject({ cniVersion: '1.1.0', code: 105 });
});

rule('result-same-version', async (version) => {
  expect(await known(version)).toHaveProperty('cniVersion', version);
});

rule('result-abbreviated', async (version) => {
  const result = await known(version);
  expect(result).not.toHaveProperty('interfaces');
  expect(JSON.stringify(result)).not.toContain('"interface"');
});

rule('result-ip4-ip6', async (version) => {
  expect(await known(version)).toEqual({
    cniVersion: version,
    ip4: { ip: '10.1.0.7/24', gateway: '10.1.0.1', routes: [route4(version)] },
    ip6: { ip: 'fd00:1::7/64', gateway: 'fd00:1::1', routes: [ROUTE6] },
    dns: DNS,
  });
});

rule('result-ips-with-family', async (version) => {
  expect(await known(version)).toEqual({
    cniVersion: version,
    ips: [
      { version: '4', address: '10.1.0.7/24', gateway: '10.1.0.1' },
      { version: '6', address: 'fd00:1::7/64', gateway: 'fd00:1::1' },
    ],
    routes: [route4(version), ROUTE6],
    dns: DNS,
  });
});

rule('result-ips', async (version) => {
  expect(await known(version)).toEqual({
    cniVersion: version,
    ips: [
      { address: '10.1.0.7/24', gateway: '10.1.0.1' },
      { address: 'fd00:1::7/64', gateway: 'fd00:1::1' },
    ],
    routes: [route4(version), ROUTE6],
    dns: DNS,
  });
});

rule('result-route-fields', async (version) => {
  expect(await known(version)).toHaveProperty('routes.0', route4(version));
});

rule('result-short-routes', async (version) => {
  const { routes, ip4 } = await known(version);
  expect(routes ?? ip4).toEqual(
    OLDEST.includes(version)
      ? expect.objectContaining({ routes: [route4(version)] })
      : [route4(version), ROUTE6],
  );
});

rule('result-dns', async (version) => {
  expect(await known(version)).toHaveProperty('dns', DNS);
});

const TWO = { args: { cni: { ips: ['10.1.0.9', '10.1.0.8'] } } };

rule('result-one-of-each-family', (version) =>
  refused(7, `cniVersion ${version}`, { ipam: { pools: ['v4'] }, version, config: TWO }),
);

rule('result-several-of-one-family', async (version) => {
  const { outcome } = await subject.add({ ipam: { pools: ['v4'] }, version, config: TWO });
  expect(addressesIn(outcome)).toEqual(['10.1.0.9/24', '10.1.0.8/24']);
});

/** libcni with Berth as the only plugin of a list. */
async function cnitool(verb: 'add' | 'check' | 'del', version: string, pod: TestPod): Promise<string> {
  const directory = join(subject.cluster.directory, `net-${version}`);
  const name = `${prefix}-${version}`;
  await mkdir(directory, { recursive: true });
  const plugins = [{ type: 'berth', ipam: subject.agent.ipam(BOTH.ipam) }];
  await writeFile(join(directory, 'net.conflist'), JSON.stringify({ cniVersion: version, name, plugins }));
  const { env } = subject.prepare('ADD', pod);
  return run(cni.cnitool, [verb, name, `/var/run/netns/${name}`], {
    env: {
      CNI_PATH: dirname(artefacts.binary),
      NETCONFPATH: directory,
      CNI_ARGS: env['CNI_ARGS'],
      CNI_IFNAME: 'net1',
    },
  });
}

rule('result-round-trip', async (version) => {
  const pod = await subject.pod();
  // Whatever cnitool prints has been through the types of the CNI library.
  const printed = JSON.parse(await cnitool('add', version, pod)) as Record<string, unknown>;
  // As cnitool makes it of the path of the namespace.
  const hash = createHash('sha512').update(`/var/run/netns/${prefix}-${version}`).digest('hex');
  const containerID = `cnitool-${hash.slice(0, 20)}`;
  const { output } = await subject.call('ADD', pod, { ...BOTH, version, containerID });
  expect(printed).toEqual(output);
  if (WITH_CHECK.includes(version)) await cnitool('check', version, pod);
  await cnitool('del', version, pod);
  expect(await subject.reservationsOf(pod)).toEqual([]);
});

rule('add-prev-result', async () => {
  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'eth0', sandbox: '/var/run/netns/x' }],
    ips: [{ address: '192.0.2.7/24', interface: 0 }],
    routes: [{ dst: '192.0.2.0/24' }],
  };
  const { outcome } = await subject.add({ ...BOTH, config: { type: 'macvlan', prevResult } });
  expect(addressesIn(outcome)).toEqual([
    expect.stringMatching(/^10\.1\.0\.\d+\/24$/),
    expect.stringMatching(/^fd00:1::.+\/64$/),
  ]);
  expect(outcome.stdout).not.toContain('192.0.2');
});

rule('add-concurrently', async () => {
  const pods = await inParallel(4, Array.from({ length: 12 }), () => subject.pod());
  const outcomes = await Promise.all(pods.map((pod) => subject.call('ADD', pod, BOTH)));
  expect(new Set(outcomes.flatMap(addressesIn)).size).toBe(2 * pods.length);
});

rule('add-several-interfaces', async () => {
  const pod = await subject.pod();
  const given: string[] = [];
  for (const ifname of ['eth0', 'net1', 'net2']) {
    given.push(...addressesIn(await subject.call('ADD', pod, { ...BOTH, ifname })));
  }
  expect(new Set(given).size).toBe(6);
  expect(await subject.reservationsOf(pod)).toHaveLength(6);
});

rule('add-twice', async (version) => {
  const { pod, outcome } = await subject.add({ ...BOTH, version });
  const before = await subject.reservationsOf(pod);
  expect(await subject.call('ADD', pod, { ...BOTH, version })).toEqual(outcome);
  expect(before).toHaveLength(2);
  // With their resourceVersions: nothing was written.
  expect(await subject.reservationsOf(pod)).toEqual(before);
});

rule('add-failed', async () => {
  const shape = { ipam: { pools: ['v4', 'empty-v6'] } };
  const { pod, outcome } = await subject.add(shape);
  expect(codeOf(outcome)).toBe(101);
  expect(await subject.reservationsOf(pod)).toEqual([]);
  expect(await subject.call('DEL', pod, shape)).toEqual(SILENCE);
});

chapter.close();

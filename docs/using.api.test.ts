/**
 * docs/using.md, from the top to the end: every block is applied or run as a reader would, on a real API server with
 * the built operator, agents and binary, and then has the effect that the text promises.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IPReservation } from '../crds/types.ts';
import { codeOf, messageOf } from '../e2e/harness/cni.ts';
import { waitFor } from '../e2e/harness/wait.ts';
import { code, readDocument, type Snippet, snippets, tableAfter } from './testing/markdown.ts';
import { addressesIn, NODE, OTHER_NODE, Site } from './testing/site.ts';

const PAGE = 'docs/using.md';
const blocks = snippets(PAGE);

let site: Site;

beforeAll(async () => {
  site = await Site.start();
});

afterAll(() => site?.cluster.stop());

const pools = (list: string): Record<string, string> => ({ 'ipam.berth.dev/pools': list });
const ips = (list: string): Record<string, string> => ({ 'ipam.berth.dev/ips': list });

async function specOf(name: string): Promise<IPReservation['spec'] | undefined> {
  return (await site.cluster.reservations()).get(name)?.spec;
}

/** Lines of a command's output without what differs from run to run: ages, and the widths of columns. */
function stable(output: string): string[] {
  const lines = output.trim().split('\n');
  return lines.map((line) => line.replaceAll(/\b\d+[smh](\d+[sm])?\b/g, 'AGE').replaceAll(/ {2,}/g, '  '));
}

/** Runs the commands; where the page shows what they print, until they print it: counts follow a moment later. */
async function runAsShown({ text, output }: Snippet): Promise<void> {
  let printed = await site.shell(text);
  if (output === undefined) return;
  const deadline = performance.now() + 15_000;
  while (stable(printed).join() !== stable(output).join() && performance.now() < deadline) {
    printed = await site.shell(text);
  }
  expect(stable(printed)).toEqual(stable(output));
}

const nothingMore = async (): Promise<void> => undefined;

/** What each block promises, by the name in the comment before it; it has been applied or run then. */
const promises: Readonly<Record<string, (block: Snippet) => Promise<void>>> = {
  'the pools': nothingMore,
  'the pools are Ready': nothingMore,
  'the network': nothingMore,
  'a pod': async () => {
    expect(await site.start('web')).toEqual({ net1: ['10.20.1.1/16', 'fd00:10:20::2/64'] });
  },
  'what the pod has': nothingMore,

  'a default pool': nothingMore,
  '/etc/cni/net.d/10-pods.conflist': async ({ text }) => {
    // As a runtime hands the list's first plugin its configuration (CNI spec, "Deriving request configuration").
    const { plugins, ...list } = JSON.parse(text) as { plugins: Record<string, unknown>[] };
    const eth0 = { ifname: 'eth0', config: { ...list, ...plugins[0] }, args: {} };
    const { pod } = site.running('web');
    expect((await site.call('ADD', pod, eth0)).output).toMatchObject({
      ips: [{ address: '10.30.0.2/24', gateway: '10.30.0.1' }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.30.0.1' }],
    });
    expect(await site.call('DEL', pod, eth0)).toMatchObject({ exitCode: 0 });
  },
  'another default network': async () => {
    expect(await site.start('flat')).toEqual({ eth0: ['10.20.1.2/16'] });
  },

  'more pools': async () => {
    // "Both or none".
    await site.cluster.createPool('full-v6', { network: 'storage', subnet: 'fd00:10:99::/64', ranges: [] });
    expect(codeOf(await site.answer('half', pools('fast-v4, full-v6')))).toBe(101);
    const given = [...(await site.cluster.reservations()).values()].map(({ spec }) => spec.pool);
    expect(given).not.toContain('fast-v4');
  },
  'pools of a pod': async () => {
    expect(await site.start('cache')).toEqual({ net1: ['10.22.0.1/24'] });
    const second = await site.startExtra('cache-2', pools('small-v4, fast-v4'));
    expect(second.addresses).toEqual({ net1: ['10.22.0.2/24'] });
    expect(await site.given('cache-3', pools('small-v4, fast-v4'))).toEqual(['10.21.0.1/24']);
    await site.end(second);
  },
  'pools by interface': async () => {
    expect(await site.start('router')).toEqual({
      net1: ['10.20.1.3/16', 'fd00:10:20::3/64'],
      net2: ['10.21.0.1/24'],
    });
    const twice = { ...pools('fast-v4'), 'k8s.v1.cni.cncf.io/networks': 'storage,storage' };
    expect(await site.given('comma-list', twice)).toEqual(['10.21.0.2/24', '10.21.0.3/24']);
  },
  'pools by cni-args': async () => {
    expect(await site.start('firewall')).toEqual({
      inner: ['10.20.1.4/16', 'fd00:10:20::4/64'],
      outer: ['10.21.0.2/24'],
    });
    // "Before all annotations".
    const both = {
      ...pools('small-v4'),
      'k8s.v1.cni.cncf.io/networks': '[{"name": "storage", "cni-args": {"pools": ["fast-v4"]}}]',
    };
    expect(await site.given('both', both)).toEqual(['10.21.0.3/24']);
  },
  'pools of a namespace': async () => {
    expect(await site.start('report', 'batch')).toEqual({ data: ['10.21.0.3/24'] });
    const own = { ...pools('small-v4'), 'k8s.v1.cni.cncf.io/networks': 'shop/storage' };
    expect(await site.given('own', own, { namespace: 'batch' })).toEqual(['10.22.0.2/24']);
  },
  'a pool for each rack': async () => {
    const answer = await site.answer('nowhere', { 'k8s.v1.cni.cncf.io/networks': 'racks' });
    expect(codeOf(answer)).toBe(104);
  },
  'labels of the nodes': async () => {
    const racks = { 'k8s.v1.cni.cncf.io/networks': 'racks' };
    // Until the node's agent has seen the label the pod is refused, and kubelet tries again.
    for (const [node, subnet] of [
      [NODE, /^10\.40\.1\.\d+\/24$/],
      [OTHER_NODE, /^10\.40\.2\.\d+\/24$/],
    ] as const) {
      let addresses: string[] = [];
      await waitFor(`a pod on ${node} has an address of its rack`, async () => {
        const answer = await site.answer(`on-${node}`, racks, { node });
        addresses = answer.exitCode === 0 ? addressesIn(answer) : [];
        return addresses.length > 0;
      });
      expect(addresses).toEqual([expect.stringMatching(subnet)]);
    }
  },
  'a pool for some': async () => {
    const { net1 } = await site.start('ledger', 'payments');
    expect(net1).toEqual([expect.stringMatching(/^10\.23\.0\.\d+\/24$/)]);
    const other = { ...pools('ledger-v4'), 'k8s.v1.cni.cncf.io/networks': 'shop/storage' };
    expect(codeOf(await site.answer('other', other, { namespace: 'payments' }))).toBe(104);
    expect(codeOf(await site.answer('ledger', other, { labels: { app: 'ledger' } }))).toBe(104);
  },
  'a pool is disabled': async () => {
    await waitFor('nobody gets a new address of the pool', async () => {
      return codeOf(await site.answer('too-late', pools('fast-v4'))) === 104;
    });
    const { pod, attachments, addresses } = site.running('router');
    const net2 = attachments.find(({ ifname }) => ifname === 'net2');
    if (net2 === undefined) throw new Error('the router has no net2');
    expect(addressesIn(await site.call('ADD', pod, net2))).toEqual(addresses['net2']);
    expect(addressesIn(await site.call('ADD', pod, net2, 'another-sandbox'))).toEqual(addresses['net2']);
  },
  'a pool is enabled': async () => {
    await waitFor('the pool gives addresses', async () => {
      return (await site.answer('in-time', pools('fast-v4'))).exitCode === 0;
    });
  },

  'addresses by annotation': async () => {
    expect(await site.start('db')).toEqual({ net1: ['10.20.0.50/16', 'fd00:10:20::50/64'] });
    expect(codeOf(await site.answer('gateway', ips('10.20.0.1')))).toBe(103);
  },
  'addresses by Multus': async () => {
    expect(await site.start('mail')).toEqual({
      net1: ['10.20.0.51/16', 'fd00:10:20::5/64'],
      net2: ['10.20.0.52/16', '10.20.0.53/16', 'fd00:10:20::6/64'],
    });
  },
  'addresses by cni-args': async () => {
    expect(await site.start('dns')).toEqual({ net1: ['10.20.1.5/16', 'fd00:10:20::53/64'] });
  },
  'a pool for requests only': async () => {
    expect(await site.start('vip')).toEqual({ net1: ['10.24.0.5/28'] });
    expect(codeOf(await site.answer('by-chance', pools('vips-v4')))).toBe(101);
  },
  'a pool without requests': async () => {
    expect(codeOf(await site.answer('wish', { ...pools('any-v4'), ...ips('10.25.0.9') }))).toBe(103);
    expect(await site.given('no-wish', pools('any-v4'))).toEqual(['10.25.0.1/24']);
  },

  'kept for a pod': async () => {
    await site.whenHeld(['Pod/shop/gate']);
  },
  'the pod that it is kept for': async ({ text }) => {
    expect((await site.start('gate'))['net1']?.[0]).toBe('10.20.0.100/16');
    await site.end(site.running('gate'));
    expect(await specOf('storage.10.20.0.100')).toMatchObject({ state: 'Held', holder: 'Pod/shop/gate' });
    await site.whenHeld(['Pod/shop/gate']);
    await site.apply(text);
    expect((await site.start('gate'))['net1']?.[0]).toBe('10.20.0.100/16');
  },
  'kept for a StatefulSet': async () => {
    await site.whenHeld(['StatefulSet/shop/ring/0', 'StatefulSet/shop/ring/1']);
  },
  'the StatefulSet that they are kept for': async ({ text }) => {
    const given = [];
    for (const pod of await site.replicas(text)) given.push(pod.addresses['net1']?.[0]);
    expect(given).toEqual(['10.20.0.110/16', '10.20.0.111/16', '10.20.1.6/16']);
  },
  'kept for something outside': async ({ text }) => {
    const answer = await site.answer('thief', ips('10.20.0.200'));
    expect(codeOf(answer)).toBe(102);
    // Nor does anybody get by chance what is kept: the address that fast-v4 would give next.
    const [v4 = ''] = text.split('---\n');
    const next = v4.replaceAll('10.20.0.200', '10.21.0.4').replace('pool: storage-v4', 'pool: fast-v4');
    await site.apply(next);
    expect(await site.given('by-chance', pools('fast-v4'))).toEqual(['10.21.0.5/24']);
    await site.shell('kubectl delete ipreservation storage.10.21.0.4');
    await site.cluster.whenPool('storage-v6', 'storage-v6 counts it', ({ status }) => status?.held === '1');
    // A pod that goes without a DEL is collected, and by then what is kept would be.
    const lost = await site.startExtra('lost', pools('fast-v4'));
    await site.end({ pod: lost.pod, attachments: [] });
    await waitFor("the lost pod's address is free", async () => {
      return ![...(await site.cluster.reservations()).values()].some(
        ({ spec }) => spec.owner?.uid === lost.pod.uid,
      );
    });
    expect(await specOf('storage.10.20.0.200')).toMatchObject({ state: 'Held' });
  },
  'no longer kept': async () => {
    const free = await site.given('next', { ...pools('storage-v6'), ...ips('fd00:10:20::200') });
    expect(free).toEqual(['fd00:10:20::200/64']);
  },

  'one address': nothingMore,
  'addresses of a pod': nothingMore,
  'addresses of a pool on a node': nothingMore,
  'what is kept': nothingMore,
  'how full': nothingMore,
  'the role to annotate pods': nothingMore,
  'a network that annotates pods': async () => {
    expect(await site.start('shown')).toEqual({ net1: ['10.20.1.7/16'] });
  },
  'what the pod shows': nothingMore,

  'a pod without an address': async () => {
    expect(codeOf(await site.fail('second-db'))).toBe(102);
  },
  'why it has none': nothingMore,

  'storage.json': async ({ text }) => site.write('storage.json', text),
  STATUS: nothingMore,
  'ADD by hand': async () => {
    expect(await specOf('storage.10.20.0.60')).toMatchObject({ owner: { kind: 'Node', node: NODE } });
  },
  'check.json': async ({ text }) => site.write('check.json', text),
  'CHECK and DEL': async ({ text }) => {
    expect((await specOf('storage.10.20.0.60'))?.state).toBe('Released');
    const [variables = '', check = ''] = text.split('\n');
    const answer = await site.shell(`${variables}\n${check.replace(' && ', ' || ')}`);
    expect(answer).toContain('"code":106');
  },
  'gc.json': async ({ text }) => {
    await site.write('gc.json', text);
    await site.age(site.running('web'), 11);
  },
  GC: async () => {
    const ofNetwork = [...(await site.cluster.reservations()).values()]
      .map(({ spec }) => spec)
      .filter(({ owner }) => owner?.cniNetwork === 'storage-macvlan');
    const states = (name: string): string[] =>
      ofNetwork.filter(({ owner }) => owner?.uid === site.running(name).pod.uid).map(({ state }) => state);
    expect(states('web')).toEqual(['Released', 'Released']);
    // Younger than ten minutes.
    expect(states('router')).toEqual(['Bound', 'Bound', 'Bound']);
  },
};

describe('docs/using.md', () => {
  test('every block has a name of its own and a test, and every test a block', () => {
    const names = blocks.map(({ step, line }) => step ?? `line ${line}`);
    expect(names.toSorted()).toEqual(Object.keys(promises).toSorted());
    // What is done with a block below.
    const languages = blocks.map(({ language }) => language);
    expect(new Set(languages)).toEqual(new Set(['yaml', 'sh', 'json']));
  });

  test.each(blocks.map((block) => [block.line, block.step ?? '', block] as const))(
    'line %i, %s',
    async (_line, step, block) => {
      if (block.language === 'yaml') await site.apply(block.text);
      if (block.language === 'sh') await runAsShown(block);
      await promises[step]?.(block);
    },
  );

  const examples = tableAfter(readDocument(PAGE), '## When a pod gets no address');
  const asked = [
    ips('10.20.0'),
    pools('small-v4'),
    ips('10.20.0.50'),
    ips('10.20.0.200'),
    ips('10.99.0.1'),
    { ...pools('any-v4'), ...ips('10.25.0.9') },
    pools('ledger-v4'),
    pools('storage-v5'),
  ];

  test('every error in the table is what a pod hears', async () => {
    const full = await site.startExtra('cache-2', pools('small-v4'));
    expect(examples).toHaveLength(asked.length);
    for (const [i, [number, message]] of examples.entries()) {
      const answer = await site.answer('late', asked[i] ?? {});
      expect(codeOf(answer)).toBe(Number(number));
      const shown = code(message)?.replace(/…$/, '');
      expect(messageOf(answer)).toContain(`pod shop/late, interface net1: ${shown}`);
    }
    await site.end(full);
  });
});

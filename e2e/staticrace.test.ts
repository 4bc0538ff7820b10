/** Two nodes ask for the same address by value at the same moment: exactly one gets it, the other hears who has it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import { type CniCall, type CniOutcome, codeOf, messageOf } from './harness/cni.ts';

const NODES = ['node-1', 'node-2'] as const;
const ROUNDS = 40;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: 'staticrace', nodes: NODES });
  await cluster.createPool('free', { subnet: '10.1.0.0/24', cooldown: '0s' });
  await cluster.createPool('resting', { subnet: '10.2.0.0/24', cooldown: '1h' });
});

afterAll(() => cluster?.stop());

test.each([
  ['free', 'a free address', '10.1.0.7'],
  ['resting', 'an address that cools down', '10.2.0.7'],
])(
  '%s: of two nodes that ask for %s one wins, the other is 102 and says whose it is',
  async (pool, _what, address) => {
    const asking: TestPod[] = [];
    for (const node of NODES) asking.push(await cluster.createPod(node, `${pool}-${node}`));
    const call = (pod: TestPod, command: CniCall['command'], round: number): Promise<CniOutcome> => {
      const agent = cluster.agent(pod.node);
      return agent.call(
        podCall(command, pod, agent.ipam({ pools: [pool] }), {
          containerID: `${pod.node}-${round}`,
          config: { runtimeConfig: { ips: [address] } },
        }),
      );
    };
    const wins = new Map<string, number>(NODES.map((node) => [node, 0]));
    for (let round = 0; round < ROUNDS; round += 1) {
      // The one that is called first has a head start: they take turns.
      const order = round % 2 === 0 ? asking : asking.toReversed();
      const answers = await Promise.all(
        order.map(async (pod) => ({ pod, answer: await call(pod, 'ADD', round) })),
      );
      const [winner, ...others] = answers.filter(({ answer }) => answer.exitCode === 0);
      const [loser] = answers.filter(({ answer }) => answer.exitCode !== 0);
      if (winner === undefined || loser === undefined || others.length > 0) {
        throw new Error(`round ${round}: ${answers.map(({ answer }) => answer.stdout).join(' ')}`);
      }
      expect(addressesOf(winner.answer)).toEqual([address]);
      expect(codeOf(loser.answer)).toBe(102);
      expect(messageOf(loser.answer)).toContain(
        `requested address ${address} of pool ${pool} is taken: bound to pod default/${winner.pod.name}, interface net1, on node ${winner.pod.node}`,
      );
      const own = [...(await cluster.reservations()).values()].filter(({ spec }) => spec.pool === pool);
      expect(own.map(({ spec }) => `${spec.address} ${spec.state} ${spec.owner?.uid}`)).toEqual([
        `${address} Bound ${winner.pod.uid}`,
      ]);
      wins.set(winner.pod.node, (wins.get(winner.pod.node) ?? 0) + 1);
      expect((await call(winner.pod, 'DEL', round)).exitCode).toBe(0);
    }
    // A race that the same one always wins is none.
    for (const [node, won] of wins) expect(won, `rounds that ${node} won`).toBeGreaterThan(0);
  },
);

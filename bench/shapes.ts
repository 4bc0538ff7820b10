/**
 * ADDs that are more than one address on one interface: dual stack (one ADD, an address of each family), and two interfaces of
 * a pod that are added at the same time. An operation is two addresses; beside it two raw creates at the same time.
 */
import type { Address } from '../ipam/address.ts';
import { connect } from '../kube/client.ts';
import { createPods, ROUNDS, say, scaled, startBenchCluster } from './setup.ts';
import { type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, RawCreates, type Shape } from './subjects.ts';

/** Each has two requests in hand. */
const CALLERS = 16;
const OPERATIONS = scaled(400);
const PODS = 50;

const SHAPES: readonly (Shape & {
  readonly name: string;
  readonly families: readonly Address['family'][];
})[] = [
  { name: 'dual stack', pools: ['v4', 'v6'], interfaces: 1, families: [4, 6] },
  { name: 'two interfaces', pools: ['v4'], interfaces: 2, families: [4, 4] },
];

/** Names are `create/SHAPE`, `add/SHAPE` and `del/SHAPE`; rates are of operations. @throws Error if an operation fails */
export async function measureShapes(): Promise<Row[]> {
  const cluster = await startBenchCluster({ name: 'shapes' });
  try {
    const agent = cluster.agent('node-1');
    await cluster.createPool('v4', { subnet: '10.0.0.0/8', cooldown: '0s' });
    await cluster.createPool('v6', { subnet: 'fd00:1::/64', cooldown: '0s' });
    const pods = await createPods(cluster, PODS);
    const [pod] = pods;
    const agentApi = await connect({ kubeconfig: agent.kubeconfig, userAgent: 'berth-bench' });
    const subjects = await Promise.all(
      SHAPES.map(async ({ families, ...shape }, i) => ({
        name: shape.name,
        raw: await RawCreates.in(cluster, agentApi, pod, `raw-${i}`, families),
        calls: new AgentCalls(agent, pods, shape),
        create: [] as Round[],
        add: [] as Round[],
        del: [] as Round[],
      })),
    );
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const { raw, calls, create, add, del } of subjects) {
        create.push(await raw.run(CALLERS, OPERATIONS));
        add.push(await calls.addOnly(CALLERS, OPERATIONS));
        del.push(await calls.delLast(CALLERS, OPERATIONS));
        await raw.clean();
      }
      say(`shapes: round ${round + 1} of ${ROUNDS} done`);
    }
    await agentApi.close();
    return subjects.flatMap(({ name, create, add, del }) => [
      { ...summarise(`create/${name}`, CALLERS, create), ratio: 1 },
      summarise(`add/${name}`, CALLERS, add, create),
      summarise(`del/${name}`, CALLERS, del, create),
    ]);
  } finally {
    await cluster.stop();
  }
}

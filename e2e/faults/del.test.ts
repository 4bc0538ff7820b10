/** SIGKILL of the agent at every step of a DEL: the binary says success all the same, and the address comes back. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, type NodeAgent, startCluster } from '../harness/cluster.ts';
import { callBinary, codeOf } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import { RESTING_POOL, Runtime, type Sandbox } from './runtime.ts';
import { around, KILLER, repeated, Steps, writing } from './steps.ts';

let cluster: Cluster;
let agent: NodeAgent;
let steps: Steps;
let runtime: Runtime;

beforeAll(async () => {
  cluster = await startCluster({ name: 'faults-del', agentPreload: KILLER });
  agent = cluster.agent('node-1');
  steps = new Steps(agent);
  runtime = new Runtime(cluster);
  const common = { network: 'default', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/24' });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/64' });
  await cluster.createPool(RESTING_POOL, { network: 'default', subnet: '10.2.0.0/24', cooldown: '1h' });
});

afterEach(async () => {
  // A step that is never reached fails its own test, and not those after it.
  steps.disarm();
  if (!agent.program.isRunning) await agent.program.start();
  await runtime.delAll();
});

afterAll(() => cluster?.stop());

interface Scenario {
  readonly what: string;
  readonly pools: readonly string[];
  /** Every step that the DEL takes, in any order. */
  readonly steps: readonly string[];
}

const scenarios: readonly Scenario[] = [
  {
    what: 'of one family',
    pools: ['v4'],
    steps: [
      'request: received',
      ...around('release'),
      ...writing('delete'),
      ...around('released'),
      'reply: sent',
    ],
  },
  {
    what: 'of both families',
    pools: ['v4', 'v6'],
    steps: [
      'request: received',
      ...around('release'),
      ...repeated(2, ...writing('delete')),
      ...around('released'),
      'reply: sent',
    ],
  },
  {
    what: 'into a cooldown',
    pools: [RESTING_POOL],
    steps: [
      'request: received',
      ...around('release'),
      ...writing('patch'),
      ...around('released'),
      'reply: sent',
    ],
  },
];

let pods = 0;
const newSandbox = async ({ pools }: Scenario): Promise<Sandbox> =>
  runtime.run(await cluster.createPod('node-1', `pod-${(pods += 1)}`), pools);

describe.each(scenarios)('DEL $what', (scenario) => {
  test('takes the steps that are tested here and no others', async () => {
    const sandbox = await newSandbox(scenario);
    steps.arm(undefined);
    await runtime.del(sandbox);
    await waitFor('the last step is traced', () => steps.trace().includes('reply: sent'));
    expect(steps.trace().toSorted()).toEqual([...scenario.steps].toSorted());
    steps.disarm();
    await runtime.whenEqual();
  });

  test.each(scenario.steps)('killed at "%s"', async (step) => {
    const bystander = await newSandbox(scenario);
    const sandbox = await newSandbox(scenario);
    steps.arm(step);
    const del = runtime.del(sandbox);
    await agent.program.whenEnded();
    expect(steps.hit()).toBe(step);
    // The binary has not waited for the next agent: its promise is in the deletes directory.
    await del;
    steps.disarm();
    await agent.program.start();
    await runtime.whenEqual();
    // A kubelet that did not hear the answer asks again.
    expect(codeOf(await callBinary(artefacts.binary, runtime.call('DEL', sandbox)))).toBe(0);
    await runtime.whenEqual();
    expect(runtime.live()).toHaveLength(scenario.pools.length);
    await runtime.del(bystander);
    await runtime.whenEqual();
  });
});

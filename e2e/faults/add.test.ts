/** SIGKILL of the agent at every step of an ADD: afterwards the reservations are the live attachments, exactly. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, type NodeAgent, startCluster } from '../harness/cluster.ts';
import { type CniOutcome, callBinary, callSocket, codeOf } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import { RESTING_POOL, Runtime, type Sandbox } from './runtime.ts';
import { around, KILLER, repeated, Steps, writing } from './steps.ts';

let cluster: Cluster;
let agent: NodeAgent;
let steps: Steps;
let runtime: Runtime;

beforeAll(async () => {
  cluster = await startCluster({ name: 'faults-add', agentPreload: KILLER });
  agent = cluster.agent('node-1');
  steps = new Steps(agent);
  runtime = new Runtime(cluster);
  const common = { network: 'default', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/24' });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/64' });
  await cluster.createPool('single-v6', { ...common, subnet: 'fd00:2::/64', ranges: ['fd00:2::9'] });
  await cluster.createPool(RESTING_POOL, {
    network: 'default',
    subnet: '10.2.0.0/24',
    ranges: ['10.2.0.9'],
    cooldown: '1h',
  });
});

afterEach(async () => {
  // A step that is never reached fails its own test, and not those after it.
  steps.disarm();
  if (!agent.program.isRunning) await agent.program.start();
  await runtime.delAll();
});

afterAll(() => cluster?.stop());

/** An ADD that is about to be made, and what there is besides. */
interface Situation {
  readonly sandbox: Sandbox;
  /** Other sandboxes, older ones of the same pod among them, that get their DEL at the end. */
  readonly others: readonly Sandbox[];
}

interface Scenario {
  readonly what: string;
  /** Every step that the ADD takes, in any order. */
  readonly steps: readonly string[];
  /** How the runtime learns that the agent is gone. */
  readonly ways: readonly Way[];
  /** What the ADD answers in the end. */
  readonly code: number;
  prepare(): Promise<Situation>;
}

/** `repeats`: the binary asks the next agent. `gives up`: it was killed too; the runtime begins with a new sandbox. */
type Way = 'repeats' | 'gives up';

let pods = 0;
const newPod = (): ReturnType<Cluster['createPod']> => cluster.createPod('node-1', `pod-${(pods += 1)}`);

async function plain(pools: readonly string[]): Promise<Situation> {
  return { sandbox: runtime.sandbox(await newPod(), pools), others: [] };
}

const scenarios: readonly Scenario[] = [
  {
    what: 'of one family',
    steps: [
      'request: received',
      ...around('intent'),
      ...writing('create'),
      ...around('bound'),
      'reply: sent',
    ],
    ways: ['repeats', 'gives up'],
    code: 0,
    prepare: () => plain(['v4']),
  },
  {
    what: 'of both families',
    steps: [
      'request: received',
      ...repeated(2, ...around('intent'), ...writing('create')),
      ...around('bound'),
      'reply: sent',
    ],
    ways: ['gives up'],
    code: 0,
    prepare: () => plain(['v4', 'v6']),
  },
  {
    what: 'that fails in one family and undoes the other',
    steps: [
      'request: received',
      // The second one says that the address is given back.
      ...repeated(2, ...around('intent')),
      ...writing('create'),
      ...writing('delete'),
      ...around('failed'),
      'reply: sent',
    ],
    ways: ['gives up'],
    code: 101,
    prepare: async () => {
      const other = await runtime.run(await newPod(), ['single-v6']);
      return { sandbox: runtime.sandbox(await newPod(), ['v4', 'single-v6']), others: [other] };
    },
  },
  {
    what: 'that takes a released address',
    steps: ['request: received', ...around('intent'), ...writing('patch'), ...around('bound'), 'reply: sent'],
    ways: ['gives up'],
    code: 0,
    prepare: async () => {
      const before = await runtime.run(await newPod(), [RESTING_POOL]);
      const sandbox = runtime.sandbox(await newPod(), [RESTING_POOL]);
      // The refusal makes the agent look at what there is, whatever it knew before.
      expect(codeOf(await runtime.add(sandbox))).toBe(101);
      await runtime.del(before);
      return { sandbox, others: [] };
    },
  },
  {
    what: 'of a restarted sandbox',
    steps: ['request: received', ...around('intent'), ...writing('patch'), ...around('bound'), 'reply: sent'],
    ways: ['repeats', 'gives up'],
    code: 0,
    prepare: async () => {
      const old = await runtime.run(await newPod(), ['v4']);
      return { sandbox: runtime.sandbox(old.pod, ['v4']), others: [old] };
    },
  },
];

/** The ADD, with the agent killed at the step and started again. @returns its answer, undefined if there is none */
async function addWithDeath(sandbox: Sandbox, step: string, way: Way): Promise<CniOutcome | undefined> {
  const call = runtime.call('ADD', sandbox);
  steps.arm(step);
  // A socket that breaks is no answer, and that it breaks is what is wanted here.
  const answer = (
    way === 'repeats' ? callBinary(artefacts.binary, call) : callSocket(agent.socket, call)
  ).catch((error: Error) => error);
  try {
    await agent.program.whenEnded();
  } catch (error) {
    throw new Error(`the step is never reached; those that are: ${steps.trace().join(', ')}`, {
      cause: error,
    });
  }
  expect(steps.hit()).toBe(step);
  steps.disarm();
  await agent.program.start();
  const outcome = await answer;
  if (way === 'repeats' && outcome instanceof Error) throw outcome;
  return outcome instanceof Error ? undefined : outcome;
}

/** What a kubelet does about the answer, and the DEL of everybody at the end; reservations are compared after each. */
async function goOn(scenario: Scenario, situation: Situation, answer: CniOutcome | undefined): Promise<void> {
  const { sandbox, others } = situation;
  let last: Sandbox | undefined;
  if (answer?.exitCode === 0) {
    runtime.added(sandbox, answer);
    last = sandbox;
  } else {
    await runtime.del(sandbox);
    if (scenario.code === 0) last = await runtime.run(sandbox.pod, sandbox.pools);
  }
  // The runtime removes a dead sandbox of the same pod some time after the next one is up.
  for (const other of others) if (other.pod.uid === sandbox.pod.uid) await runtime.del(other);
  await runtime.whenEqual();
  for (const left of last === undefined ? others : [...others, last]) await runtime.del(left);
  await runtime.whenEqual();
  expect(runtime.live()).toEqual([]);
}

describe.each(scenarios)('ADD $what', (scenario) => {
  test('takes the steps that are tested here and no others', async () => {
    const situation = await scenario.prepare();
    steps.arm(undefined);
    const answer = await callBinary(artefacts.binary, runtime.call('ADD', situation.sandbox));
    expect(codeOf(answer)).toBe(scenario.code);
    await waitFor('the last step is traced', () => steps.trace().includes('reply: sent'));
    expect(steps.trace().toSorted()).toEqual([...scenario.steps].toSorted());
    steps.disarm();
    await goOn(scenario, situation, answer);
  });

  const cases = scenario.ways.flatMap((way) => scenario.steps.map((step) => ({ way, step })));
  test.each(cases)('killed at "$step", the runtime $way', async ({ way, step }) => {
    const situation = await scenario.prepare();
    const answer = await addWithDeath(situation.sandbox, step, way);
    // Whoever asks again gets what the ADD would have given.
    if (way === 'repeats') expect(answer).toMatchObject({ exitCode: scenario.code });
    await goOn(scenario, situation, answer);
  });
});

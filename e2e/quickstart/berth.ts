/** The operator and the agents of the quickstart, as processes that stay. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { agentToken, whenPolicyInForce } from '../controlplane/agentidentity.ts';
import type { ControlPlane } from '../controlplane/controlplane.ts';
import { accepts, socketRequest } from '../harness/cni.ts';
import { artefacts, operatorIsUp, Program } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import { NODES, type NodeName, type Places } from './places.ts';

/** How long an owner must be gone, and how often the operator looks: short, so that nobody has to wait. */
export const GRACE = '3s';

/** Berth's programs by name. */
export interface Berth {
  readonly operator: Program;
  readonly agents: Readonly<Record<NodeName, Program>>;
}

/** Prepares the programs, and the agents' pods and tokens, for nodes, roles and policy that are there; nothing runs yet. */
export async function prepareBerth(places: Places, controlPlane: ControlPlane): Promise<Berth> {
  const operator = new Program({
    script: artefacts.operator,
    logFile: places.logFile('operator'),
    detached: true,
    flags: {
      kubeconfig: await controlPlane.userKubeconfig('berth-operator'),
      'leader-elect': 'false',
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
      'orphan-grace': GRACE,
      'scan-interval': GRACE,
    },
    isUp: operatorIsUp,
  });
  const agent = async (node: NodeName): Promise<Program> => {
    const socket = places.socket(node);
    await mkdir(dirname(socket), { recursive: true });
    const token = await agentToken(controlPlane, { node });
    await whenPolicyInForce(controlPlane, token);
    const kubeconfig = await controlPlane.tokenKubeconfig(`agent-${node}`, token);
    return new Program({
      script: artefacts.agent,
      logFile: places.logFile(`agent-${node}`),
      detached: true,
      flags: {
        kubeconfig,
        'node-name': node,
        socket,
        'state-dir': places.stateDir(node),
        'metrics-address': '127.0.0.1:0',
      },
      isUp: () => accepts(socket),
    });
  };
  return { operator, agents: { 'node-1': await agent('node-1'), 'node-2': await agent('node-2') } };
}

/** Waits until every agent knows all `names` as pools that it may use; the operator's word reaches it by a watch. */
export async function agentsKnowPools(places: Places, names: readonly string[]): Promise<void> {
  for (const node of NODES) {
    await waitFor(`the agent of ${node} knows the pools as Ready`, async () => {
      const { status, body } = await socketRequest(places.socket(node), 'GET', '/v1/pools');
      if (status !== 200) throw new Error(`GET /v1/pools: HTTP ${status}: ${body}`);
      // Written by the agent (plugin/agent/show.ts).
      const pools = JSON.parse(body) as { name: string; ready: string; hasFinalizer: boolean }[];
      const usable = pools.filter((pool) => pool.ready === 'True' && pool.hasFinalizer);
      return names.every((name) => usable.some((pool) => pool.name === name));
    });
  }
}

/** The steps of the quickstart, in the order in which they are shown. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveAll } from '../controlplane/assets.ts';
import { type ControlPlane, startControlPlane } from '../controlplane/controlplane.ts';
import { rootMessage } from '../controlplane/download.ts';
import { KUBERNETES_VERSION } from '../controlplane/versions.ts';
import { agentsKnowPools, GRACE, prepareBerth } from './berth.ts';
import { CnitoolRuntime, DirectRuntime, writeNetworks } from './cni.ts';
import type { Narrator } from './narrator.ts';
import {
  absentCniDirectories,
  addPodNamespace,
  buildNetwork,
  namespacesOf,
  removeNamespaces,
  whyNoNetwork,
} from './network.ts';
import { NODES, type Places, PODS, type PodName, ROOT } from './places.ts';
import { MARK, type State, writeState } from './record.ts';
import { showAddresses, showKill, showObjects, showPings, showReclaim } from './scenes.ts';
import { writeShellEnv } from './shellenv.ts';
import type { Stage } from './stage.ts';

const POOLS = ['default-v4', 'default-v6', 'storage-v4', 'storage-v6'] as const;
const MANIFESTS = join(import.meta.dirname, 'manifests');

/** Says and does everything; what it started stays. @throws Error of the step that failed */
export async function tour(places: Places, say: Narrator): Promise<Stage> {
  const { controlPlane: assets, cni } = await resolveAll();
  // The first directory that it had to make; down removes from there.
  const made = await mkdir(places.directory, { recursive: true, mode: 0o700 });
  let state: State = {
    startedAt: Date.now(),
    prefix: places.prefix,
    complete: false,
    outermost: made ?? places.directory,
    cniDirectories: absentCniDirectories(),
    processes: {},
  };
  await writeState(places, state);
  process.env[MARK] = places.directory;

  const controlPlane = await say.step(
    'control plane',
    'Start a real kube-apiserver and etcd, on 127.0.0.1 only. No kubelet, no containers: this script plays them.',
    async () => {
      const started = startControlPlane({ directory: places.controlPlane, assets });
      const ready = await say.waiting('the API server to be ready', started);
      await writeShellEnv(places, ready, cni);
      say.fact(`Kubernetes ${KUBERNETES_VERSION} at ${ready.url}`);
      return ready;
    },
  );
  const network = await say.step(
    'two nodes and the links between them',
    'Make two nodes: network namespaces, each with a bridge for pods and a link for macvlan, joined by two switches.',
    () => makeNodes(places, say),
  );
  await say.step(
    'kinds, roles, policy, nodes and pools applied',
    "kubectl apply: Berth's two kinds, the roles and the policy of its programs, two nodes, and four pools.",
    () => applyObjects(controlPlane, say),
  );
  const berth = await prepareBerth(places, controlPlane);
  const remember = async (): Promise<void> => {
    const { operator, agents } = berth;
    const programs = { operator, 'agent-node-1': agents['node-1'], 'agent-node-2': agents['node-2'] };
    const running = Object.entries(programs).filter(([, program]) => program.isRunning);
    const processes = Object.fromEntries(running.map(([name, program]) => [name, program.id]));
    state = { ...state, processes };
    await writeState(places, state);
  };
  await say.step(
    'operator and agents started',
    'Start Berth: one operator for the cluster, and an agent for each node.',
    () => startBerth({ places, say, controlPlane, berth, remember }),
  );
  const runtime = network ? new CnitoolRuntime(places, cni) : new DirectRuntime(places);
  const uids = await applyPods(controlPlane);
  const stage: Stage = { places, say, controlPlane, cni, berth, runtime, network, uids, remember };
  const addresses = await showAddresses(stage);
  if (network) await showPings(stage, addresses.db);
  await showObjects(stage);
  await showKill(stage, addresses.web);
  await showReclaim(stage);
  await writeState(places, { ...state, complete: true });
  return stage;
}

async function makeNodes(places: Places, say: Narrator): Promise<boolean> {
  for (const node of NODES) await writeNetworks(places, node);
  let reason = whyNoNetwork();
  if (reason === undefined) {
    try {
      await buildNetwork(places);
      for (const pod of Object.keys(PODS)) await addPodNamespace(places, pod);
      say.fact(
        `${NODES.map((node) => places.nodeNamespace(node)).join(' and ')}, and a namespace for each pod`,
      );
      return true;
    } catch (error) {
      reason = rootMessage(error);
      await removeNamespaces(await namespacesOf(places.prefix));
    }
  }
  say.note(`Left out: ${reason}. So there are no interfaces and no ping, and this script calls`);
  say.note('dist/berth itself, as bridge and macvlan would. All about addresses is real.');
  return false;
}

async function applyObjects(controlPlane: ControlPlane, say: Narrator): Promise<void> {
  await controlPlane.applyCrds();
  const config = ['config/rbac', 'config/policy'].map((folder) => join(ROOT, folder));
  const files = [...config, join(MANIFESTS, 'nodes.yaml'), join(MANIFESTS, 'pools.yaml')];
  await controlPlane.kubectl(['apply', ...files.flatMap((file) => ['-f', file])]);
  say.fact('crds/*.yaml, config/{rbac,policy}/, e2e/quickstart/manifests/{nodes,pools}.yaml');
}

async function startBerth(
  parts: Pick<Stage, 'places' | 'say' | 'controlPlane' | 'berth' | 'remember'>,
): Promise<void> {
  const { places, say, controlPlane, berth, remember } = parts;
  const agents = NODES.map((node) => berth.agents[node]);
  const programs = [berth.operator, ...agents];
  for (const program of programs) {
    await program.spawn();
    await remember();
  }
  const up = Promise.all(programs.map((program) => program.whenUp()));
  await say.waiting('operator and agents to serve', up);
  const ready = controlPlane.kubectl([
    'wait',
    '--for=condition=Ready',
    '--timeout=30s',
    ...POOLS.map((pool) => `ippool/${pool}`),
  ]);
  await say.waiting('the pools to be Ready', Promise.all([ready, agentsKnowPools(places, POOLS)]));
  say.fact(
    `operator: process ${berth.operator.pid}, with a grace and a scan of ${GRACE} so that nobody has to wait`,
  );
  say.line('      (it usually gives a vanished pod 60 s, and looks at everything every 5 min)');
  say.fact(`agents: processes ${agents.map((agent) => agent.pid).join(' and ')}`);
  say.fact('all four pools are Ready');
}

async function applyPods(controlPlane: ControlPlane): Promise<Record<PodName, string>> {
  const applied = await controlPlane.kubectl(['apply', '-f', join(MANIFESTS, 'pods.yaml'), '-o', 'json']);
  // kubectl prints a List of what it applied.
  const { items } = JSON.parse(applied) as { items: { metadata: { name: string; uid: string } }[] };
  const uidOf = (pod: PodName): string => {
    const uid = items.find(({ metadata }) => metadata.name === pod)?.metadata.uid;
    if (uid === undefined) throw new Error(`kubectl apply made no pod ${pod}`);
    return uid;
  };
  return { web: uidOf('web'), db: uidOf('db'), batch: uidOf('batch'), report: uidOf('report') };
}

/** The last page: what was shown, how long it took, and how to look further. */
import { join } from 'node:path';
import { artefacts } from '../harness/programs.ts';
import { seconds } from './narrator.ts';
import { quoted } from './shellenv.ts';
import type { Stage } from './stage.ts';

/** The commands of an ADD by hand; the test runs them. */
export function addByHand({ places, network }: Pick<Stage, 'places' | 'network'>): string[] {
  const pod = `kubectl run mine --image=none --overrides='{"spec": {"nodeName": "node-1"}}'`;
  const args = 'CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=mine"';
  if (network) {
    const namespace = places.podNamespace('mine');
    return [
      pod,
      `ip netns add ${namespace}`,
      `export ${args}`,
      `ip netns exec ${places.nodeNamespace('node-1')} cnitool add ${places.cniNetwork('pods')} /run/netns/${namespace}`,
      `ip netns exec ${namespace} ip address`,
    ];
  }
  const ipam = { type: 'berth', socket: places.socket('node-1'), stateDir: places.stateDir('node-1') };
  const config = { cniVersion: '1.1.0', name: places.cniNetwork('pods'), type: 'bridge', ipam };
  const variables =
    'CNI_COMMAND=ADD CNI_CONTAINERID=mine CNI_NETNS=/run/netns/none CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin';
  return [pod, `export ${args}`, `echo ${quoted(JSON.stringify(config))} | ${variables} ${artefacts.binary}`];
}

/** @param totalMs since the quickstart began */
export function showSummary(stage: Stage, totalMs: number): void {
  const { say, places, network } = stage;
  say.line();
  say.line(`All of it works, ${seconds(totalMs)} in all:`);
  for (const { title, ms } of say.steps) say.line(`  ${seconds(ms).padStart(7)}  ${title}`);
  if (!network) say.line('           left out here: interfaces and ping (see step 2)');
  const lines = [
    '',
    'Everything stays up. Look further:',
    `  export KUBECONFIG=${quoted(stage.controlPlane.kubeconfig)}`,
    `  . ${quoted(places.envFile)}   # the same, and kubectl and cnitool on the PATH`,
    '  kubectl get ippools,ipreservations -o wide',
    '  kubectl explain ippool.spec; kubectl get pods -o wide   # Pending: there is no kubelet',
    `  tail ${quoted(join(places.directory, '*.log')).replaceAll("'", '')}`,
    ...(network ? [`  ip netns exec ${places.podNamespace('web')} ip address`] : []),
    '',
    'An ADD of your own, after the line with env.sh:',
    ...addByHand(stage).map((line) => `  ${line}`),
    '',
    'Remove every trace:  make quickstart-down',
  ];
  for (const line of lines) say.line(line);
}

/**
 * Who an agent is to the API server: a pod on its node, with the token that a kubelet would ask for.
 *
 * Such a token names the node of its pod, which is what the admission policy of `config/policy` goes by; the fixed token
 * of a control plane (`userKubeconfig`) names none and is refused by it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlPlane } from './controlplane.ts';
import { SYSTEM_NAMESPACE } from './identity.ts';

export interface AgentIdentity {
  /** An existing node. */
  readonly node: string;
  /** Of an existing service account. Default to those of `config/rbac`. */
  readonly namespace?: string;
  readonly serviceAccount?: string;
}

/** Seconds: longer than any test. */
const TOKEN_LIFETIME_S = 86_400;
const IN_FORCE_WITHIN_MS = 30_000;

/**
 * Makes an agent's pod on the node, and a token bound to it.
 * @throws Error with the answer of the API server, if it refuses
 */
export async function agentToken(controlPlane: ControlPlane, identity: AgentIdentity): Promise<string> {
  const { node, namespace = SYSTEM_NAMESPACE, serviceAccount = 'berth-agent' } = identity;
  const create = async (path: string, object: object): Promise<unknown> => {
    const { status, body } = await controlPlane.post(`/api/v1/namespaces/${namespace}${path}`, object);
    if (status !== 201) throw new Error(`POST ${path} for the agent on ${node}: HTTP ${status}: ${body}`);
    return JSON.parse(body);
  };
  const name = `${serviceAccount}-${node}`;
  // Objects of the core API, as the API server answers them.
  const pod = (await create('/pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      serviceAccountName: serviceAccount,
      nodeName: node,
      // Who deletes it revokes the token: no kubelet ends it first.
      terminationGracePeriodSeconds: 0,
      // The API server wants a container, which nothing runs.
      containers: [{ name: 'agent', image: 'none' }],
    },
  })) as { metadata: { uid: string } };
  const review = (await create(`/serviceaccounts/${serviceAccount}/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      expirationSeconds: TOKEN_LIFETIME_S,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid: pod.metadata.uid },
    },
  })) as { status: { token: string } };
  return review.status.token;
}

/**
 * Waits until the policy refuses what an agent must not do: an API server knows a new policy only after a moment.
 * @param token of any agent
 * @throws Error if it does not within 30 s
 */
export async function whenPolicyInForce(controlPlane: ControlPlane, token: string): Promise<void> {
  const path = '/apis/ipam.berth.dev/v1alpha1/ipreservations?dryRun=All';
  const foreign = {
    apiVersion: 'ipam.berth.dev/v1alpha1',
    kind: 'IPReservation',
    metadata: { name: 'policy-probe.192.0.2.1' },
    spec: {
      network: 'policy-probe',
      address: '192.0.2.1',
      pool: 'policy-probe',
      state: 'Bound',
      owner: { kind: 'Node', node: 'policy-probe' },
    },
  };
  const deadline = performance.now() + IN_FORCE_WITHIN_MS;
  let last = '';
  while (performance.now() < deadline) {
    const { status, body } = await controlPlane.post(path, foreign, token);
    if (status === 403 && body.includes('ValidatingAdmissionPolicy')) return;
    last = `HTTP ${status}: ${body}`;
    await sleep(50);
  }
  throw new Error(`the admission policy is not in force after ${IN_FORCE_WITHIN_MS / 1000} s: ${last}`);
}

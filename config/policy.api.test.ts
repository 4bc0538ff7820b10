/** The admission policy on a real API server, with the tokens of agents on two nodes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../crds/types.ts';
import { agentToken, whenPolicyInForce } from '../e2e/controlplane/agentidentity.ts';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { parseAddress } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { holdersOf } from '../ipam/owner.ts';
import { releaseOf } from '../ipam/reservation.ts';
import { connect, type RestApi } from '../kube/client.ts';
import { nodes } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { ALLOWED } from './testing/allowedwrites.ts';
import {
  type Attempt,
  bound,
  HOLDER,
  MINE,
  NETWORK,
  NOW,
  OTHERS,
  object,
  others,
  POD_HOLDER,
  POOL,
  patches,
  patchOf,
} from './testing/attempts.ts';
import { REFUSED } from './testing/refusedwrites.ts';
import { ELSEWHERE, type Installation, render, SHIPPED } from './testing/render.ts';

let plane: ControlPlane;
let admin: RestApi;

beforeAll(async () => {
  plane = await startControlPlane({ name: 'policy' });
  admin = await connect({ kubeconfig: plane.kubeconfig, userAgent: 'berth-test' });
  await plane.applyCrds();
  for (const name of [MINE, OTHERS]) {
    await admin.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
  }
});

afterAll(async () => {
  await admin?.close();
  await plane?.stop();
});
let lastHost = 0;
/** An address that no other test uses. */
function newAddress(): string {
  lastHost += 1;
  return `10.${Math.floor(lastHost / 250)}.0.${(lastHost % 250) + 1}`;
}

/** Runs an attempt on an object of its own. */
async function attempt(
  { from, metadata, act }: Attempt,
  agent: RestApi,
): Promise<{
  failure: unknown;
  there: IPReservation | undefined;
  now: IPReservation | undefined;
}> {
  const spec: IPReservationSpec = {
    network: NETWORK,
    address: newAddress(),
    pool: POOL,
    state: 'Bound',
    ...from,
  };
  const name = reservationName(NETWORK, parseAddress(spec.address));
  const there = from === undefined ? undefined : await admin.create(ipReservations, object(spec, metadata));
  const failure = await act(agent, spec, there).then(
    () => undefined,
    (error: unknown) => error,
  );
  const live = async (): Promise<IPReservation | undefined> =>
    (await admin.list(ipReservations, { fieldSelector: `metadata.name=${name}` })).items[0];
  return { failure, there, now: await live() };
}

function expectRefused(failure: unknown, words: RegExp): void {
  expect(failure).toBeInstanceOf(ApiError);
  expect(failure).toMatchObject({
    kind: 'Forbidden',
    status: 403,
    reason: 'Forbidden',
    message: expect.stringMatching(words),
  });
  expect(String(failure)).toContain("ValidatingAdmissionPolicy 'berth-agent'");
}

test('the holders of the owner in these cases are what the agent computes of a pod of a StatefulSet', () => {
  const controller = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', controller: true };
  const metadata = { namespace: 'shop', name: 'db-2', ownerReferences: [controller] };
  expect(holdersOf({ metadata })).toEqual([POD_HOLDER, HOLDER]);
});

describe.each<[string, Installation]>([
  ['as shipped', SHIPPED],
  ['in another namespace, with other service accounts', ELSEWHERE],
])('%s', (_name, installation) => {
  const tokens = new Map<string, string>();
  let agent: RestApi;

  const apiOf = async (token: string): Promise<RestApi> =>
    connect({
      kubeconfig: await plane.tokenKubeconfig(`${installation.agent}-${tokens.size}`, token),
      userAgent: 'berth-test',
    });

  beforeAll(async () => {
    const { namespace } = installation;
    if (namespace !== SHIPPED.namespace) await plane.kubectl(['create', 'namespace', namespace]);
    await plane.kubectl(['apply', '-f', '-'], render(installation));
    for (const node of [MINE, OTHERS]) {
      const token = await agentToken(plane, { node, namespace, serviceAccount: installation.agent });
      tokens.set(node, token);
      await whenPolicyInForce(plane, token);
    }
    agent = await apiOf(tokens.get(MINE) ?? '');
  });

  afterAll(() => agent?.close());

  test.each(ALLOWED)('an agent %s', async (_what, each) => {
    const { failure, there, now } = await attempt(each, agent);
    expect(failure).toBeUndefined();
    expect(now?.metadata.resourceVersion).not.toBe(there?.metadata.resourceVersion);
  });

  test.each(REFUSED)('an agent may not %s', async (_what, each, words) => {
    const { failure, there, now } = await attempt(each, agent);
    expectRefused(failure, words);
    expect(now).toEqual(there);
  });

  test("a stolen token of one node cannot release another's address, whose own agent can", async () => {
    const theft = patches(bound(others), (spec) => patchOf(releaseOf(spec, 30_000, NOW)));
    expectRefused((await attempt(theft, agent)).failure, /in use on node "node-b"/);
    const other = await apiOf(tokens.get(OTHERS) ?? '');
    try {
      const { failure, now } = await attempt(theft, other);
      expect(failure).toBeUndefined();
      expect(now?.spec.state).toBe('Released');
    } finally {
      await other.close();
    }
  });

  test("a token of the agents' service account that is not bound to a pod is refused everything", async () => {
    const account = `/api/v1/namespaces/${installation.namespace}/serviceaccounts/${installation.agent}`;
    const { body } = await plane.post(`${account}/token`, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {},
    });
    // Of the core API, as the API server answers it.
    const { status } = JSON.parse(body) as { status: { token: string } };
    const unbound = await apiOf(status.token);
    try {
      for (const [, each] of ALLOWED) {
        expectRefused((await attempt(each, unbound)).failure, /not bound to a pod on a node/);
      }
    } finally {
      await unbound.close();
    }
  });

  test('people and the operator are not meant', async () => {
    const address = newAddress();
    const name = reservationName(NETWORK, parseAddress(address));
    const spec = { ...bound(others), network: NETWORK, address, pool: POOL };
    await admin.create(ipReservations, object(spec, { labels: { made: 'by-hand' } }));
    const as = `--as=system:serviceaccount:${installation.namespace}:${installation.operator}`;
    await plane.kubectl([as, 'patch', 'ipr', name, '--type=merge', '-p', '{"spec":{"state":"Released"}}']);
    await plane.kubectl([as, 'delete', 'ipr', name]);
  });
});

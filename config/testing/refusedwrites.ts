/** What the policy refuses, and the words that say why. */
import { rebind, releaseOf } from '../../ipam/reservation.ts';
import {
  type Attempt,
  binds,
  bound,
  creates,
  deletes,
  HOLDER,
  held,
  hostOwner,
  MINE,
  mine,
  NETWORK,
  NOW,
  OTHERS,
  others,
  POD_HOLDER,
  POOL,
  patches,
  patchOf,
  released,
  replaces,
  seizes,
  takes,
  takesHeld,
} from './attempts.ts';

export const REFUSED: readonly [string, Attempt, RegExp][] = [
  [
    'create one for a pod of another node',
    binds(others),
    /on node node-a binds .* own node only, not on node "node-b"/,
  ],
  [
    'create one for another node',
    binds({ ...hostOwner, node: OTHERS }),
    /own node only, not on node "node-b"/,
  ],
  [
    'create a Released one',
    creates((address) => ({ ...bound(mine), state: 'Released', network: NETWORK, address, pool: POOL })),
    /creates Bound reservations only; Released ones/,
  ],
  [
    'create a Held one',
    creates((address) => ({ ...held(HOLDER), network: NETWORK, address, pool: POOL })),
    /creates Bound reservations only; Held ones/,
  ],
  [
    "create one with somebody else's holder",
    binds(mine, 'StatefulSet/shop/db/3'),
    /holder StatefulSet\/shop\/db\/3 is not one of the owner, pod "shop\/db-2"/,
  ],
  ['create one of a node with a holder', binds(hostOwner, HOLDER), /holder .* is not one of the owner/],
  ...(['labels', 'annotations'] as const).map((field): [string, Attempt, RegExp] => [
    `create one with ${field}`,
    creates((address) => ({ ...bound(mine), network: NETWORK, address, pool: POOL }), {
      [field]: { a: 'b' },
    }),
    /no labels, annotations, finalizers or owner references/,
  ]),
  [
    'create one with a finalizer',
    creates((address) => ({ ...bound(mine), network: NETWORK, address, pool: POOL }), {
      finalizers: ['example.com/stay'],
    }),
    /no labels/,
  ],
  [
    'create one with an owner reference',
    creates((address) => ({ ...bound(mine), network: NETWORK, address, pool: POOL }), {
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: MINE, uid: 'u' }],
    }),
    /no labels/,
  ],

  [
    "release another node's",
    patches(bound(others), (spec) => patchOf(releaseOf(spec, 30_000, NOW))),
    /in use on node "node-b", not on node-a/,
  ],
  [
    "hold another node's",
    patches(bound(others, HOLDER), (spec) => patchOf(releaseOf(spec, 0, NOW))),
    /in use on node "node-b"/,
  ],
  ["delete another node's", deletes(bound(others)), /in use on node "node-b"/],
  [
    "rebind another node's",
    patches(bound(others), (spec) => rebind(spec, { ...others, containerID: 'c2' }, NOW).patch),
    /own node only, not on node "node-b"/,
  ],
  [
    "take another node's",
    patches(bound(others), (spec) => [{ op: 'replace', path: '/spec', value: { ...spec, owner: mine } }]),
    /in use on node "node-b"/,
  ],
  [
    'take one that a person bound without a node',
    patches({ ...bound(others), owner: { ...others, node: 'node-c' } }, (spec) => [
      { op: 'replace', path: '/spec', value: { ...spec, owner: mine } },
    ]),
    /in use on node "node-c"/,
  ],

  [
    'give a Bound one to another node',
    patches(bound(mine), replaces('/spec/owner/node', OTHERS)),
    /own node only, not on node "node-b"/,
  ],
  [
    'give a Bound one to another pod',
    patches(bound(mine), replaces('/spec/owner/uid', 'uid-2')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'give a Bound one to a pod of another name',
    patches(bound(mine), replaces('/spec/owner/name', 'db-3')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'give a Bound one to a pod of another namespace',
    patches(bound(mine), replaces('/spec/owner/namespace', 'bank')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'give a Bound one to another interface',
    patches(bound(mine), replaces('/spec/owner/ifname', 'net2')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    "make a pod's one the node's",
    patches(bound(mine), replaces('/spec/owner', hostOwner)),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'rebind one of the node',
    patches(bound(hostOwner), replaces('/spec/owner/containerID', 'c2')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'move a Bound one to another pool',
    patches(bound(mine), replaces('/spec/pool', 'red')),
    /keeps its pool, its holder and the pod/,
  ],
  [
    'give a Bound one a holder',
    patches(bound(mine), replaces('/spec/holder', HOLDER)),
    /keeps its pool, its holder/,
  ],
  [
    'take the holder of a Bound one away',
    patches(bound(mine, HOLDER), () => [{ op: 'remove', path: '/spec/holder' }]),
    /keeps its pool, its holder/,
  ],

  [
    'release one with a holder',
    patches(bound(mine, HOLDER), replaces('/spec/state', 'Released')),
    /has the holder StatefulSet\/shop\/db\/2, so it can only be given back as Held/,
  ],
  [
    'release one and drop its holder',
    patches(bound(mine, HOLDER), () => [
      { op: 'replace', path: '/spec/state', value: 'Released' },
      { op: 'remove', path: '/spec/holder' },
    ]),
    /can only be given back as Held/,
  ],
  ['delete one with a holder', deletes(bound(mine, HOLDER)), /can only be given back as Held/],
  [
    'hold one for another holder',
    patches(bound(mine, HOLDER), () => [
      { op: 'replace', path: '/spec/state', value: 'Held' },
      { op: 'replace', path: '/spec/holder', value: POD_HOLDER },
      { op: 'remove', path: '/spec/owner' },
    ]),
    /can only be given back as Held/,
  ],
  [
    "hold one and leave it a last owner, as if the hold were not a person's",
    patches(bound(mine, HOLDER), replaces('/spec/state', 'Held')),
    /keeps its pool .* if Held, it has none/,
  ],
  [
    'hold one that has no holder',
    patches(bound(mine), () => [
      { op: 'replace', path: '/spec/state', value: 'Held' },
      { op: 'remove', path: '/spec/owner' },
      { op: 'add', path: '/spec/holder', value: HOLDER },
    ]),
    /no holder, so it can be Released or deleted, but not Held for "StatefulSet\/shop\/db\/2"/,
  ],
  [
    'release one with another last owner',
    patches(bound(mine), () => [
      { op: 'replace', path: '/spec/state', value: 'Released' },
      { op: 'replace', path: '/spec/owner', value: others },
    ]),
    /given back keeps its pool and, if Released, its last owner/,
  ],
  [
    'release one into another pool',
    patches(bound(mine), () => [
      { op: 'replace', path: '/spec/state', value: 'Released' },
      { op: 'replace', path: '/spec/pool', value: 'red' },
    ]),
    /given back keeps its pool/,
  ],

  [
    'take a Released one for another node',
    patches(released, (spec) => takes(spec, { owner: others })),
    /own node only, not on node "node-b"/,
  ],
  [
    "take a Released one with somebody else's holder",
    patches(released, (spec) => takes(spec, { holder: 'Pod/shop/vip' })),
    /holder Pod\/shop\/vip is not one of the owner/,
  ],
  [
    'delete a Released one, even its own',
    deletes({ ...released, owner: mine }),
    /take a Released address, but neither delete/,
  ],
  [
    'hold a Released one',
    patches(released, () => [
      { op: 'replace', path: '/spec/state', value: 'Held' },
      { op: 'add', path: '/spec/holder', value: HOLDER },
    ]),
    /take a Released address, but neither/,
  ],
  [
    'make a Released one look younger',
    patches(released, replaces('/spec/since', '2026-01-31T11:00:00Z')),
    /take a Released address, but neither/,
  ],

  [
    'take one held for another pod',
    patches(held('Pod/shop/vip'), (spec) => [
      { op: 'replace', path: '/spec', value: { ...spec, state: 'Bound', owner: mine } },
    ]),
    /holder Pod\/shop\/vip is not one of the owner/,
  ],
  [
    'take one held for another of the set',
    patches(held('StatefulSet/shop/db/3'), takesHeld('StatefulSet/shop/db/3')),
    /holder StatefulSet\/shop\/db\/3 is not one/,
  ],
  [
    'take one held for the same name in another namespace',
    patches(held('Pod/bank/db-2'), takesHeld('Pod/bank/db-2')),
    /holder Pod\/bank\/db-2 is not one/,
  ],
  [
    'take a Held one and drop its holder',
    patches(held(HOLDER), (spec) => seizes(spec)),
    /held for StatefulSet\/shop\/db\/2: .* which it keeps/,
  ],
  [
    "take a Held one for the other of its pod's holders",
    patches(held(HOLDER), (spec) => seizes(spec, { holder: POD_HOLDER })),
    /held for StatefulSet\/shop\/db\/2/,
  ],
  [
    'take one that is kept for something outside the cluster',
    patches({ state: 'Held', owner: { kind: 'External', name: 'printer' } }, (spec) => seizes(spec)),
    /held for something outside the cluster/,
  ],
  [
    'take a Held one for a pod of another node',
    patches(held(HOLDER), takesHeld(HOLDER, others)),
    /own node only, not on node "node-b"/,
  ],
  [
    'release a Held one',
    patches(held(HOLDER, mine), replaces('/spec/state', 'Released')),
    /held for StatefulSet\/shop\/db\/2/,
  ],
  [
    'hold a Held one for somebody else',
    patches(held(HOLDER), replaces('/spec/holder', POD_HOLDER)),
    /held for StatefulSet\/shop\/db\/2/,
  ],
  ['delete a Held one', deletes(held(HOLDER, mine)), /held for StatefulSet\/shop\/db\/2/],

  ['label one of its own', patches(bound(mine), replaces('/metadata/labels', { a: 'b' })), /no labels/],
  [
    'remove a label that a person has set',
    patches(bound(mine), () => [{ op: 'remove', path: '/metadata/labels' }], { labels: { kept: 'yes' } }),
    /no labels/,
  ],
  [
    'annotate one of its own',
    patches(bound(mine), replaces('/metadata/annotations', { a: 'b' })),
    /no labels/,
  ],
  [
    'put a finalizer on one of its own',
    patches(bound(mine), replaces('/metadata/finalizers', ['example.com/stay'])),
    /no labels/,
  ],
  [
    "remove a person's finalizer",
    patches(bound(mine), () => [{ op: 'remove', path: '/metadata/finalizers' }], {
      finalizers: ['example.com/audit'],
    }),
    /no labels/,
  ],
  [
    'give one of its own an owner',
    patches(
      bound(mine),
      replaces('/metadata/ownerReferences', [{ apiVersion: 'v1', kind: 'Node', name: MINE, uid: 'u' }]),
    ),
    /no labels/,
  ],
];

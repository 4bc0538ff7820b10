/** Every write that an agent makes: docs/security.md has the same table. */
import { rebind, releaseOf, undoOf } from '../../ipam/reservation.ts';
import {
  type Attempt,
  binds,
  bound,
  deletes,
  HOLDER,
  held,
  hostOwner,
  mine,
  NOW,
  others,
  POD_HOLDER,
  patches,
  patchOf,
  released,
  takes,
  takesHeld,
} from './attempts.ts';

export const ALLOWED: readonly [string, Attempt][] = [
  ['ADD: creates one for a pod', binds(mine)],
  ['ADD without a pod: creates one for the node', binds(hostOwner)],
  ['creates one again that a restore has lost, with its holder', binds(mine, HOLDER)],
  ['creates one again that a restore has lost, held for the pod itself', binds(mine, POD_HOLDER)],
  ['ADD: takes a Released one of another node', patches(released, (spec) => takes(spec))],
  [
    'ADD: takes a Released one out of another pool',
    patches(released, (spec) => takes(spec, { pool: 'red' })),
  ],
  [
    'takes a Released one back that a restore shows so, with its holder',
    patches(released, (spec) => takes(spec, { holder: HOLDER })),
  ],
  ["ADD: takes one held for the pod's place in its StatefulSet", patches(held(HOLDER), takesHeld(HOLDER))],
  ['ADD: takes one held for the pod', patches(held(POD_HOLDER), takesHeld(POD_HOLDER))],
  ['ADD: takes one held that the pod had on another node', patches(held(HOLDER, others), takesHeld(HOLDER))],
  ['DEL: releases one', patches(bound(mine), (spec) => patchOf(releaseOf(spec, 30_000, NOW)))],
  [
    'DEL: releases one of the node',
    patches(bound(hostOwner), (spec) => patchOf(releaseOf(spec, 30_000, NOW))),
  ],
  [
    'DEL: holds one with a holder',
    patches(bound(mine, HOLDER), (spec) => patchOf(releaseOf(spec, 30_000, NOW))),
  ],
  [
    'DEL: holds one with a holder that a person chose',
    patches(bound(mine, 'Pod/shop/vip'), (spec) => patchOf(releaseOf(spec, 0, NOW))),
  ],
  ['DEL: deletes one of a pool without cooldown', deletes(bound(mine))],
  ['DEL: deletes one of the node', deletes(bound(hostOwner))],
  [
    'a failed ADD: releases what it took',
    patches(bound(mine), (spec) => patchOf(undoOf('released', spec, NOW))),
  ],
  [
    'a failed ADD: holds what it took',
    patches(bound(mine, HOLDER), (spec) => patchOf(undoOf('held', spec, NOW))),
  ],
  [
    'a restarted sandbox: rebinds',
    patches(bound(mine), (spec) => rebind(spec, { ...mine, containerID: 'c2' }, NOW).patch),
  ],
  [
    'a restarted sandbox: rebinds one with a holder',
    patches(
      bound(mine, HOLDER),
      (spec) => rebind(spec, { ...mine, containerID: 'c2', cniNetwork: 'renamed' }, NOW).patch,
    ),
  ],
  [
    'DEL: releases one that a person has labelled',
    patches(bound(mine), (spec) => patchOf(releaseOf(spec, 30_000, NOW)), {
      labels: { kept: 'yes' },
      annotations: { note: 'x' },
      finalizers: ['example.com/audit'],
    }),
  ],
];

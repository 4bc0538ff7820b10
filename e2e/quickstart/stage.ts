/** What the scenes play with. */
import type { CniAssets } from '../controlplane/assets.ts';
import type { ControlPlane } from '../controlplane/controlplane.ts';
import type { Berth } from './berth.ts';
import type { Runtime } from './cni.ts';
import type { Narrator } from './narrator.ts';
import type { Places, PodName } from './places.ts';

/** A running quickstart. */
export interface Stage {
  readonly places: Places;
  readonly say: Narrator;
  readonly controlPlane: ControlPlane;
  readonly cni: CniAssets;
  readonly berth: Berth;
  readonly runtime: Runtime;
  /** False: addresses only, no interfaces. */
  readonly network: boolean;
  /** UIDs of the pods. */
  readonly uids: Readonly<Record<PodName, string>>;
  /** Writes down the processes that run now. */
  remember(): Promise<void>;
}

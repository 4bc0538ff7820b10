/** What kubelet and pod workers share: a node as its pods see it, and the answers of the plugin. */
import type { Clock } from '../../kube/clock.ts';
import type { SeededRandom } from '../../plugin/agent/testing/random.ts';
import type { CniAnswer } from '../../plugin/protocol.ts';
import type { Machine } from './machine.ts';
import type { Oracle, PodIdentity, Sandbox } from './oracle.ts';

/** How often a runtime behaves badly, each from 0 to 1. */
export interface Habits {
  /** Never sends a DEL for a sandbox. */
  readonly forgetDel: number;
  /** Tries a failed ADD again for the same sandbox. */
  readonly retrySame: number;
  /** Makes the new sandbox without waiting for the old one's DEL. */
  readonly overtake: number;
  /** Sends a DEL that succeeded again. */
  readonly repeatDel: number;
}

/** What the API says of a pod on this node. */
export type PodState = 'run' | 'stop' | 'gone';

export interface KubeletOptions {
  readonly machine: Machine;
  readonly seed: number;
  readonly time: Clock;
  readonly oracle: Oracle;
  readonly habits: Habits;
  readonly note: (text: string) => void;
  /** A container ID that was never used before. */
  readonly newContainer: () => string;
  /** The pods of this node in the API, static ones in the kubelet's own manifests included. */
  readonly podsHere: () => ReadonlyMap<string, { readonly pod: PodIdentity; readonly state: PodState }>;
  /** All containers of the pod have ended: the API may drop the object. False if the API is away. */
  readonly finalize: (pod: PodIdentity) => Promise<boolean>;
}

/** The kubelet, as one of its pods needs it. */
export interface PodHost {
  readonly options: KubeletOptions;
  readonly random: SeededRandom;
  /** The machine is on. */
  readonly isUp: boolean;
  /** A call of the plugin; undefined if the runtime died meanwhile. */
  call(command: string, sandbox: Sandbox): Promise<CniAnswer | undefined>;
  /** There is nothing left to do for the pod. */
  forget(uid: string): void;
}

/** 0 for success. */
export function codeOf(answer: CniAnswer): number {
  if (answer.exitCode === 0) return 0;
  // An error of CNI is an object with a code.
  return (JSON.parse(answer.stdout) as { code: number }).code;
}

export function addressesOf(answer: CniAnswer): string[] {
  const { ips } = JSON.parse(answer.stdout) as { ips: { address: string }[] };
  return ips.map(({ address }) => address.split('/')[0] ?? '');
}

/** The answer in a few words. */
export function summary(answer: CniAnswer): string {
  if (answer.exitCode !== 0) {
    const { code, msg } = JSON.parse(answer.stdout) as { code: number; msg: string };
    return `${code} ${msg}`;
  }
  return answer.stdout === '' ? 'done' : addressesOf(answer).join(' ');
}

/** Events about Berth's objects: for people, never needed for correctness. */
import type { KubeObject } from '../kube/api.ts';

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, for programs. */
  readonly reason: string;
  /** One line, for people. */
  readonly message: string;
}

/** Tells that something happened to a reservation or a pool. Does not wait, and does not throw. */
export type Report = (about: KubeObject, happening: Happening) => void;

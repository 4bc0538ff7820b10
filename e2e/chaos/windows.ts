/** When something was broken, and for whom: an ADD that met none of it must have succeeded. */

/** A fault from its beginning until what it hit served again. */
export interface FaultWindow {
  /** What was done, such as `kill agent`. */
  readonly fault: string;
  /** The node that it hit; undefined: all. */
  readonly node?: string | undefined;
  readonly from: number;
  /** undefined while it lasts. */
  to?: number;
}

/** How a call lies to the faults: beside all of them, only in the time in which everybody finds back, or in one. */
export type Place = 'calm' | 'recovery' | 'fault';

/**
 * Milliseconds after a fault in which everybody finds back: agents wait up to a few seconds before they ask a server again
 * that was away, and kubelets' calls have piled up.
 */
export const RECOVERY_MS = 5_000;

export class FaultWindows {
  readonly #now: () => number;
  readonly all: FaultWindow[] = [];

  constructor(now: () => number) {
    this.#now = now;
  }

  open(fault: string, node?: string): FaultWindow {
    const window: FaultWindow = { fault, node, from: this.#now() };
    this.all.push(window);
    return window;
  }

  close(window: FaultWindow): void {
    window.to = this.#now();
  }

  /** Where a call of a node lies that began and was answered then. */
  placeOf(node: string, from: number, to: number): Place {
    let place: Place = 'calm';
    for (const window of this.all) {
      if (window.node !== undefined && window.node !== node) continue;
      const end = window.to ?? Number.POSITIVE_INFINITY;
      if (window.from <= to && from <= end) return 'fault';
      if (window.from <= to && from <= end + RECOVERY_MS) place = 'recovery';
    }
    return place;
  }

  /** The part of the time from `from` to `to`, summed over the nodes, that lies in no fault; 0 to 1. */
  calmShare(nodes: readonly string[], from: number, to: number, stepMs = 100): number {
    let calm = 0;
    let all = 0;
    for (const node of nodes) {
      for (let at = from; at < to; at += stepMs) {
        all += 1;
        if (this.placeOf(node, at, at) === 'calm') calm += 1;
      }
    }
    return all === 0 ? 1 : calm / all;
  }
}

/**
 * What the runtimes know: which attachment has which address, and since when. Nothing here comes from Berth but the answers
 * to ADDs, so it can say when Berth is wrong.
 *
 * - An attachment is live from the answer to its ADD until its sandbox ends, before any DEL of it is sent.
 * - It is protected while its pod exists: whoever removes a pod by force has given its addresses away.
 * - All times are milliseconds of one clock that never goes back.
 */
import type { TestPod } from '../harness/cluster.ts';

/** One interface of one sandbox. */
export interface AttachmentId {
  readonly pod: TestPod;
  readonly containerID: string;
  readonly ifname: string;
}

export interface Attachment extends AttachmentId {
  readonly addresses: readonly string[];
  /** When its ADD was answered. */
  readonly addedAt: number;
  /** When its sandbox ended. */
  endedAt?: number;
  /** Since when its pod has been gone. */
  goneAt?: number;
}

/** An address that was given to one attachment while another one had it. */
export interface Overlap {
  readonly address: string;
  readonly older: Attachment;
  readonly newer: Attachment;
}

export function keyOf({ containerID, ifname }: Pick<AttachmentId, 'containerID' | 'ifname'>): string {
  return `${containerID}/${ifname}`;
}

/** True if Berth must keep the attachment's addresses for it. */
export function isProtected({ endedAt, goneAt }: Attachment): boolean {
  return endedAt === undefined && goneAt === undefined;
}

export class Ledger {
  readonly #now: () => number;
  readonly #live = new Map<string, Attachment>();
  readonly #byAddress = new Map<string, Set<Attachment>>();
  /** UIDs of pods that are gone, and since when. */
  readonly #gone = new Map<string, number>();
  /** In the order in which they happened. */
  readonly overlaps: Overlap[] = [];

  /** @param now milliseconds that never go back */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Attachments whose sandbox has not ended, whether or not their pod is gone. */
  live(): Attachment[] {
    return [...this.#live.values()];
  }

  get(id: Pick<AttachmentId, 'containerID' | 'ifname'>): Attachment | undefined {
    return this.#live.get(keyOf(id));
  }

  /**
   * An ADD was answered with success for the first time.
   * @throws Error if the attachment is live already: that is a bug of whoever calls
   */
  added(id: AttachmentId, addresses: readonly string[]): Attachment {
    const key = keyOf(id);
    if (this.#live.has(key)) throw new Error(`${key} is live already`);
    const goneAt = this.#gone.get(id.pod.uid);
    const attachment: Attachment = {
      ...id,
      addresses,
      addedAt: this.#now(),
      ...(goneAt !== undefined && { goneAt }),
    };
    this.#live.set(key, attachment);
    for (const address of addresses) {
      const holders = this.#byAddress.get(address) ?? new Set();
      for (const older of holders) this.overlaps.push({ address, older, newer: attachment });
      holders.add(attachment);
      this.#byAddress.set(address, holders);
    }
    return attachment;
  }

  /** The sandbox is no more; to be called before a DEL of it is sent. Unknown ones need nothing. */
  ended(id: Pick<AttachmentId, 'containerID' | 'ifname'>): void {
    const attachment = this.#live.get(keyOf(id));
    if (attachment === undefined) return;
    attachment.endedAt = this.#now();
    this.#live.delete(keyOf(id));
    for (const address of attachment.addresses) {
      const holders = this.#byAddress.get(address);
      holders?.delete(attachment);
      if (holders?.size === 0) this.#byAddress.delete(address);
    }
  }

  /** The pod has been gone since then, or is about to be removed by force: its attachments are not protected any more. */
  podGone(uid: string, since: number): void {
    if (this.#gone.has(uid)) return;
    this.#gone.set(uid, since);
    for (const attachment of this.#live.values()) {
      if (attachment.pod.uid === uid) attachment.goneAt = since;
    }
  }

  /** Whether the pod is gone, as far as is known. */
  isGone(uid: string): boolean {
    return this.#gone.has(uid);
  }

  /** The API server had the pod in a list that began then. What had lost its protection does not get it back. */
  podSeen(uid: string, listBegan: number): void {
    const since = this.#gone.get(uid);
    if (since !== undefined && since < listBegan) this.#gone.delete(uid);
  }
}

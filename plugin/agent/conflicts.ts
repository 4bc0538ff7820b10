/**
 * Addresses that an attachment of this node has and that the API server has reserved for somebody else. They are reported
 * for as long as that lasts, and never fought over.
 *
 * - Each is counted once, and told on both pods; told again at growing intervals, because an Event may get lost and does not
 *   last. The operator reads these Events and shows the conflict on the pool.
 * - Each is looked at every `LOOK_EVERY_MS`, so that the reservation is written again as soon as the other one is gone,
 *   before the address is given to a third. The end is told too.
 * - Does NOT survive the process: the comparison at the next start finds what is left.
 */
import { EVENT_ADDRESS_CONFLICT, ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import { referenceTo } from '../../kube/recorder.ts';
import { ownerInWords, whose } from './exact.ts';
import type { PodEvents } from './podevents.ts';
import type { AttachmentOwner, Claim } from './state.ts';

/** Milliseconds between looks at what is in conflict: less than the shortest cooldown that people use. */
export const LOOK_EVERY_MS = 5_000;
/** Milliseconds until a conflict is told again; doubled each time. */
const FIRST_TOLD_AGAIN_MS = 10_000;
/** The operator forgets what nobody has told for three times as long. */
const LONGEST_TOLD_AGAIN_MS = 600_000;

/** An address of an attachment, and the reservation by which it is somebody else's. */
export interface FoundConflict {
  readonly claim: Claim;
  readonly live: IPReservation;
}

interface OpenConflict extends FoundConflict {
  readonly owner: AttachmentOwner;
  /** Monotonic time from which it is told again. */
  readonly tellAt: number;
  readonly pause: number;
}

export interface ConflictsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<PodEvents, 'tell' | 'referenceTo'>;
  /** Called once for each conflict. */
  readonly onFound: () => void;
}

export class Conflicts {
  readonly #options: ConflictsOptions;
  /** By attachment, then by the reservation's name. */
  readonly #open = new Map<string, ReadonlyMap<string, OpenConflict>>();
  /** Attachments that somebody wants looked at. */
  readonly #suspects = new Set<string>();

  constructor(options: ConflictsOptions) {
    this.#options = options;
  }

  /** The attachment may have lost a reservation: it is looked at soon. */
  suspect(key: string): void {
    this.#suspects.add(key);
  }

  /** Replaces what is known of an attachment: all of its addresses that are somebody else's now. */
  set(key: string, owner: AttachmentOwner, found: readonly FoundConflict[]): void {
    const before = this.#open.get(key);
    const after = new Map(
      found.map((each) => [each.claim.name, this.#seen(owner, each, before?.get(each.claim.name))] as const),
    );
    for (const [name, ended] of before ?? []) {
      if (!after.has(name)) this.#end(ended);
    }
    if (after.size === 0) {
      this.#open.delete(key);
    } else {
      this.#open.set(key, after);
    }
  }

  /** The attachment is no more, and so are its conflicts. */
  forget(key: string): void {
    for (const ended of this.#open.get(key)?.values() ?? []) this.#end(ended);
    this.#open.delete(key);
  }

  /**
   * Looks at what is in conflict now and then, until the signal aborts.
   * @param look brings an attachment up to date and calls `set` or `forget`
   */
  async run(signal: AbortSignal, look: (key: string) => Promise<void>): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        await clock.sleep(LOOK_EVERY_MS, signal);
        for (const key of new Set([...this.#open.keys(), ...this.#suspects])) {
          await look(key);
          this.#suspects.delete(key);
        }
      } catch (error) {
        if (!signal.aborted) {
          log.warn({ error }, 'looking at addresses in conflict failed; trying again');
        }
      }
    }
  }

  #seen(owner: AttachmentOwner, found: FoundConflict, before: OpenConflict | undefined): OpenConflict {
    const { clock, log, onFound } = this.#options;
    const now = clock.monotonic();
    if (before === undefined) {
      onFound();
      log.error(
        {
          address: found.claim.address,
          owner,
          other: found.live.spec.owner ?? found.live.spec.holder,
        },
        'a live attachment has an address that is reserved for somebody else; delete one of the two pods',
      );
    } else if (now < before.tellAt) {
      return { ...before, ...found };
    }
    this.#tell(owner, found);
    const pause =
      before === undefined ? FIRST_TOLD_AGAIN_MS : Math.min(2 * before.pause, LONGEST_TOLD_AGAIN_MS);
    return { ...found, owner, pause, tellAt: now + pause };
  }

  #tell(owner: AttachmentOwner, { claim, live }: FoundConflict): void {
    const { events } = this.#options;
    const { address } = claim;
    events.tell(owner, {
      type: 'Warning',
      reason: EVENT_ADDRESS_CONFLICT,
      series: seriesOf(owner.ifname, address),
      message: `address ${address} of interface ${owner.ifname} is in use by this pod, but reserved for somebody else (${whose(live.spec)}): delete one of the two pods`,
      related: referenceTo(ipReservations, live),
    });
    const other = live.spec.owner;
    if (live.spec.state !== 'Bound' || other?.kind !== 'Pod') return;
    const { ifname = '' } = other;
    events.tell(other, {
      type: 'Warning',
      reason: EVENT_ADDRESS_CONFLICT,
      series: seriesOf(ifname, address),
      message: `address ${address} of interface ${ifname} is reserved for this pod, but in use by ${ownerInWords(owner)} as well: delete one of the two pods`,
      related: events.referenceTo(owner),
    });
  }

  #end({ owner, claim, live }: OpenConflict): void {
    const { log, events } = this.#options;
    log.info({ address: claim.address, owner }, 'an address is not in conflict any more');
    events.tell(owner, {
      type: 'Normal',
      reason: EVENT_ADDRESS_CONFLICT,
      series: seriesOf(owner.ifname, claim.address),
      message: `address ${claim.address} of interface ${owner.ifname} is not in conflict any more`,
      related: referenceTo(ipReservations, live),
    });
  }
}

function seriesOf(ifname: string, address: string): string {
  return `${ifname} ${address}`;
}

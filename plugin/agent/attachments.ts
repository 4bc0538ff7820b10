/**
 * ADD, DEL, CHECK and GC of this node's attachments.
 *
 * - Serialised per attachment, not per node.
 * - ADD is all or nothing: what a failed ADD had claimed is given back before it answers, or is in the journal as a
 *   doubt that will be.
 * - DEL answers as soon as the release is in the journal.
 */

import { parseAddress } from '../../ipam/address.ts';
import { holdersOf, isOwnedBy } from '../../ipam/reservation.ts';
import type { Clock } from '../../kube/clock.ts';
import { AGENT_DEADLINE_MS, ErrorCode } from '../protocol.ts';
import { type Given, resultFromClaims, resultOf } from './answer.ts';
import { ArrivalOrder } from './arrivals.ts';
import type { Claimer } from './claim.ts';
import { CniError, combine, messageOf } from './errors.ts';
import type { ExactClaimer } from './exact.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { Occupancy } from './occupancy.ts';
import type { AddOutcome } from './outcome.ts';
import type { OwnerResolver, PodFacts } from './owners.ts';
import { planAdd } from './plan.ts';
import type { PoolTable } from './pools.ts';
import { comparePrevResult } from './prevresult.ts';
import type { RebindContext, Rebinder } from './rebind.ts';
import type { Releaser } from './release.ts';
import { type AttachmentId, attachmentKey, type ParsedRequest } from './request.ts';
import type { NeutralResult } from './result.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, type Claim, interfaceKey, otherSandboxes } from './state.ts';
import type { Surroundings } from './surroundings.ts';
import type { ClaimContext, Claimed } from './writer.ts';

/** Milliseconds in which an ADD has its addresses; what is left of its time is for giving back what it got. */
const CLAIM_DEADLINE_MS: number = AGENT_DEADLINE_MS - 5_000;
/** Milliseconds for which GC spares a young attachment: an ADD in flight is in nobody's list. */
const GC_SPARES_MS = 600_000;

export interface AttachmentsOptions {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly pools: PoolTable;
  readonly owners: OwnerResolver;
  readonly surroundings: Surroundings;
  readonly occupancy: Occupancy;
  readonly claimer: Claimer;
  readonly exact: ExactClaimer;
  readonly settler: Settler;
  readonly releaser: Releaser;
  readonly rebinder: Rebinder;
  readonly outcome: AddOutcome;
}

export class Attachments {
  readonly #options: AttachmentsOptions;
  readonly #order = new ArrivalOrder();

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  /**
   * Gives the attachment its addresses; the same ADD again gives the same ones and writes nothing.
   * @throws CniError with a code of docs/errors.md
   */
  async add(request: ParsedRequest): Promise<NeutralResult> {
    const arrival = this.#order.arrive();
    try {
      const { result, stale } = await this.#addInOrder(request, arrival);
      // Sandboxes of this interface that nobody has any more, and whose DEL never came.
      for (const key of stale) {
        await this.#releaseLater(key);
      }
      return result;
    } finally {
      this.#order.leave();
    }
  }

  /** The answer, and what the interface's earlier sandboxes still have. */
  async #addInOrder(
    request: ParsedRequest,
    arrival: number,
  ): Promise<{ result: NeutralResult; stale: readonly string[] }> {
    const { clock } = this.#options;
    const addedAt = clock.now();
    const deadline = clock.monotonic() + CLAIM_DEADLINE_MS;
    const key = attachmentKey(request.id);
    return this.#options.lock.run(key, async () => {
      const { journal, releaser, owners, rebinder } = this.#options;
      const existing = journal.state.attachments.get(key);
      if (existing !== undefined) {
        return { result: this.#answerOf(existing), stale: [] };
      }
      if (!(await releaser.finish(key))) {
        throw new CniError(
          ErrorCode.tryAgainLater,
          'the addresses that this very attachment had before are still being released',
          'the API server is away; the runtime will try again',
        );
      }
      const { owner, pod } = await owners.resolve(request);
      const sandboxesOf = interfaceKey(owner);
      const isOvertaken = (): boolean =>
        sandboxesOf !== undefined && this.#order.isOvertaken(sandboxesOf, arrival);
      const refuseIfOvertaken = (): void => {
        if (isOvertaken()) {
          throw overtaken();
        }
      };
      refuseIfOvertaken();
      const annotate = pod !== undefined && request.config.ipam.annotatePod === true;
      const coming: RebindContext = {
        owner,
        addedAt,
        deadline,
        refuseIfOvertaken,
        ...(annotate && { annotate }),
      };
      const rebound = await rebinder.rebind(coming, (old) => this.#answerOf(old));
      const result = rebound ?? (await this.#addNew(request, pod, coming));
      if (isOvertaken()) {
        // Its runtime has given it up, and may never send the DEL of an ADD whose answer it does not hear.
        releaser.accept(key);
        throw overtaken();
      }
      if (sandboxesOf === undefined) {
        return { result, stale: [] };
      }
      this.#order.answered(sandboxesOf, arrival);
      return { result, stale: otherSandboxes(journal.state, owner) };
    });
  }

  /** Gives the attachment's addresses back. Succeeds for what was never added. */
  async del({ id }: Pick<ParsedRequest, 'id'>): Promise<void> {
    const key = attachmentKey(id);
    await this.#options.lock.run(key, () => this.#options.releaser.begin(key));
  }

  /** Accepts a DEL that was acknowledged before; its addresses go back in the background. */
  async delLater(id: AttachmentId): Promise<void> {
    await this.#releaseLater(attachmentKey(id));
  }

  #releaseLater(key: string): Promise<void> {
    return this.#options.lock.run(key, async () => {
      this.#options.releaser.accept(key);
    });
  }

  /**
   * Compares the attachment with prevResult and with the live reservations.
   * @throws CniError 106 if something is missing or differs, 11 if the API cannot be asked
   */
  async check(request: ParsedRequest): Promise<void> {
    const attachment = this.#options.journal.state.attachments.get(attachmentKey(request.id));
    if (attachment === undefined) {
      throw new CniError(ErrorCode.checkFailed, 'the attachment has no reservation on this node');
    }
    comparePrevResult(request.config.prevResult, attachment.claims, this.#options.pools.entries.values());
    for (const claim of attachment.claims) {
      await this.#checkLive(claim, attachment.owner);
    }
  }

  /**
   * Releases this node's pod attachments of the network that the runtime no longer has.
   * @throws CniError 7 unless the list of valid attachments is an array: only an explicit list may delete
   */
  async gc(request: ParsedRequest): Promise<void> {
    const { config, cniNetwork } = request;
    const valid = config['cni.dev/valid-attachments'];
    if (valid === undefined || valid === null) {
      throw new CniError(
        ErrorCode.invalidConfig,
        `"cni.dev/valid-attachments" is ${valid === null ? 'null' : 'absent'}: GC releases only by an explicit list`,
        'give the list of attachments that are in use; an empty list releases all',
      );
    }
    const keep = new Set([...valid, ...(config['cni.dev/attachments'] ?? [])].map((a) => attachmentKey(a)));
    const { clock, journal, lock, releaser } = this.#options;
    const isGone = (key: string): boolean => {
      const attachment = journal.state.attachments.get(key);
      return (
        attachment?.owner.kind === 'Pod' &&
        attachment.owner.cniNetwork === cniNetwork &&
        clock.now() - attachment.addedAt > GC_SPARES_MS &&
        !keep.has(key)
      );
    };
    let isApiThere = true;
    const release = async (key: string): Promise<void> => {
      // Looked at again: while we waited for the lock it may have been released and added anew.
      if (!isGone(key)) {
        return;
      }
      if (isApiThere) {
        isApiThere = await releaser.begin(key);
      } else {
        releaser.accept(key);
      }
    };
    for (const key of [...journal.state.attachments.keys()].filter(isGone)) {
      await lock.run(key, () => release(key));
    }
  }

  #answerOf(attachment: Attachment): NeutralResult {
    const result =
      attachment.result ??
      resultFromClaims(attachment.claims, (name) => this.#options.pools.entries.get(name)?.pool);
    if (result === undefined) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `the pool of ${attachment.claims.map((c) => c.address).join(', ')} is not known here`,
        'the attachment was adopted from the API and its pool is gone; delete the pod to give it a new address',
      );
    }
    return result;
  }

  async #checkLive(claim: Claim, owner: AttachmentOwner): Promise<void> {
    let live: Awaited<ReturnType<Settler['look']>>;
    try {
      live = await this.#options.settler.look(claim.name);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `reservation ${claim.name} can not be looked up: ${messageOf(error)}`,
        '',
        error,
      );
    }
    if (live === undefined || !isOwnedBy(live.spec, owner)) {
      throw new CniError(
        ErrorCode.checkFailed,
        `reservation ${claim.name} ${live === undefined ? 'is missing' : `is ${live.spec.state} and not this attachment's`}`,
      );
    }
  }

  async #addNew(
    request: ParsedRequest,
    pod: PodFacts | undefined,
    { owner, addedAt, deadline, annotate }: RebindContext,
  ): Promise<NeutralResult> {
    const { claimer, exact, surroundings, pools, occupancy, outcome } = this.#options;
    const namespace = pod === undefined ? undefined : await surroundings.namespace(pod.namespace);
    const holders = pod === undefined ? [] : holdersOf({ metadata: pod });
    const plan = planAdd(request, {
      pod,
      namespace,
      holders,
      pools: pools.entries,
      nodeLabels: surroundings.nodeLabels(),
      isExhausted: (pool) => occupancy.isExhausted(pool),
      exhausted: (group) => claimer.exhausted(group),
    });
    const unresolved = outcome.unresolved(owner);
    const doubts = new Set(unresolved.map((intent) => intent.name));
    const resumable = unresolved.filter((intent) => intent.isGivenBack !== true);
    const avoided = new Set(unresolved.filter((intent) => intent.isGivenBack).map((intent) => intent.name));
    const context: ClaimContext = { deadline, owner, holders, doubts, resumable, avoided };
    const [full, ...others] = plan.full;
    if (full !== undefined) {
      // What another ADD would hear of after the writes is heard now without any.
      const objections = await Promise.all(plan.wishes.map((placed) => exact.objection(placed, context)));
      throw combine([full, ...others, ...objections.filter((o) => o !== undefined)]);
    }
    const outcomes = await Promise.allSettled([
      ...plan.wishes.map((placed) => exact.claim(placed, context)),
      ...plan.groups.map((group) => claimer.claim(group, context)),
    ]);
    const failures = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason as unknown] : []));
    const rank = (c: Claimed): number => plan.families.indexOf(c.pool.pool.family);
    // Stable: within a family the order of the request stays.
    const claimed = outcomes
      .flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []))
      .toSorted((a, b) => rank(a) - rank(b));
    if (failures.length > 0) {
      await outcome.abandon(claimed, context);
      throw combineUnknown(failures);
    }
    const given: Given[] = claimed.map(({ claim, pool }) => ({
      address: parseAddress(claim.address),
      pool: pool.pool,
    }));
    const result = resultOf(given);
    const claims = claimed.map((c) => c.claim);
    const attachment: Attachment = { owner, claims, result, addedAt, ...(annotate && { annotate }) };
    await outcome.answered(attachment, claimed, context);
    return result;
  }
}

function overtaken(): CniError {
  return new CniError(
    ErrorCode.tryAgainLater,
    'a newer sandbox of this pod has been set up meanwhile, and has its addresses',
    'nothing is wrong if the runtime has given this sandbox up',
  );
}

/** One error for all; anything that is not a refusal is a fault of ours or of the machine, and wins. */
function combineUnknown(failures: readonly unknown[]): unknown {
  const refusals = failures.filter((f) => f instanceof CniError);
  const fault = failures.find((f) => !(f instanceof CniError));
  const [first, ...rest] = refusals;
  return (
    fault ?? (first === undefined ? new Error('an ADD failed without a reason') : combine([first, ...rest]))
  );
}

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
import type { Claimer } from './claim.ts';
import { CniError, combine, messageOf } from './errors.ts';
import type { ExactClaimer } from './exact.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { Occupancy } from './occupancy.ts';
import type { AddOutcome } from './outcome.ts';
import type { OwnerResolver, ResolvedOwner } from './owners.ts';
import { type NamespaceFacts, planAdd } from './plan.ts';
import type { PoolTable } from './pools.ts';
import type { Rebinder } from './rebind.ts';
import type { Releaser } from './release.ts';
import { attachmentKey, type ParsedRequest } from './request.ts';
import type { NeutralResult } from './result.ts';
import type { Settler } from './settle.ts';
import type { Attachment, AttachmentOwner, Claim } from './state.ts';
import type { ClaimContext } from './writer.ts';

/** Milliseconds for which GC spares a young attachment: an ADD in flight is in nobody's list. */
const GC_SPARES_MS = 600_000;

/** What the agent knows of the world around an attachment, from its watches. */
export interface Surroundings {
  nodeLabels(): Readonly<Record<string, string>>;
  /**
   * Reads the API only if the watch has not shown the namespace; undefined if there is none.
   * @throws CniError 11 if the API cannot be asked
   */
  namespace(name: string): Promise<NamespaceFacts | undefined>;
}

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

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  /**
   * Gives the attachment its addresses; the same ADD again gives the same ones and writes nothing.
   * @throws CniError as design.md 4.5 says
   */
  async add(request: ParsedRequest): Promise<NeutralResult> {
    const deadline = this.#options.clock.monotonic() + AGENT_DEADLINE_MS;
    const key = attachmentKey(request.id);
    return this.#options.lock.run(key, async () => {
      const { journal, releaser, owners, rebinder } = this.#options;
      if (!(await releaser.finish(key))) {
        throw new CniError(
          ErrorCode.tryAgainLater,
          'the addresses that this very attachment had before are still being released',
          'the API server is away; the runtime will try again',
        );
      }
      const existing = journal.state.attachments.get(key);
      if (existing !== undefined) {
        return this.#answerAgain(existing);
      }
      const resolved = await owners.resolve(request);
      const rebound = await rebinder.rebind(request, resolved.owner, deadline, (old) =>
        this.#answerAgain(old),
      );
      return rebound ?? (await this.#addNew(request, resolved, deadline));
    });
  }

  /** Gives the attachment's addresses back. Succeeds for what was never added. */
  async del(request: ParsedRequest): Promise<void> {
    const key = attachmentKey(request.id);
    await this.#options.lock.run(key, () => this.#options.releaser.begin(key));
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
    const reported = reportedAddresses(request.config.prevResult);
    for (const claim of attachment.claims) {
      if (reported !== undefined && !reported.has(claim.address)) {
        throw new CniError(
          ErrorCode.checkFailed,
          `address ${claim.address} of pool ${claim.pool} is reserved for the attachment, but prevResult does not have it`,
        );
      }
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
    const now = this.#options.clock.now();
    const gone = [...this.#options.journal.state.attachments].filter(
      ([key, { owner, addedAt }]) =>
        owner.kind === 'Pod' &&
        owner.cniNetwork === cniNetwork &&
        now - addedAt > GC_SPARES_MS &&
        !keep.has(key),
    );
    for (const [key] of gone) {
      await this.#options.lock.run(key, () => this.#options.releaser.begin(key));
    }
  }

  #answerAgain(attachment: Attachment): NeutralResult {
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
    { owner, pod }: ResolvedOwner,
    deadline: number,
  ): Promise<NeutralResult> {
    const { claimer, exact, surroundings, pools, occupancy, outcome } = this.#options;
    const namespace = pod === undefined ? undefined : await surroundings.namespace(pod.namespace);
    const plan = planAdd(request, {
      pod,
      namespace,
      pools: pools.entries,
      nodeLabels: surroundings.nodeLabels(),
      isExhausted: (pool) => occupancy.isExhausted(pool),
      exhausted: (pool) => claimer.exhausted(pool),
    });
    const resumable = outcome.unresolved(owner);
    const context: ClaimContext = {
      deadline,
      owner,
      holders: pod === undefined ? [] : holdersOf({ metadata: pod }),
      doubts: new Set(resumable.map((intent) => intent.name)),
      resumable,
    };
    const outcomes = await Promise.allSettled([
      ...plan.wishes.map(({ wish, pool }) => exact.claim(pool, wish.address, context)),
      ...plan.groups.map((group) => claimer.claim(group, context)),
    ]);
    const claimed = outcomes.flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []));
    const failures = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason as unknown] : []));
    if (failures.length > 0) {
      await outcome.abandon(claimed, context);
      throw combineUnknown(failures);
    }
    const given: Given[] = claimed.map(({ claim, pool }) => ({
      address: parseAddress(claim.address),
      pool: pool.pool,
    }));
    const attachment = {
      owner,
      claims: claimed.map((c) => c.claim),
      result: resultOf(given),
      addedAt: this.#options.clock.now(),
    };
    try {
      outcome.answered(attachment, context.doubts);
    } catch (error) {
      await outcome.abandon(claimed, context);
      throw error;
    }
    return attachment.result;
  }
}

/** The addresses of a prevResult in any version's form; undefined if there is none. */
function reportedAddresses(prevResult: Record<string, unknown> | null | undefined): Set<string> | undefined {
  if (prevResult === undefined || prevResult === null) {
    return undefined;
  }
  const ips: unknown = prevResult['ips'];
  const addresses = (Array.isArray(ips) ? ips : []).flatMap((ip: unknown) => {
    const address: unknown =
      typeof ip === 'object' && ip !== null && 'address' in ip ? ip.address : undefined;
    return typeof address === 'string' ? [address.split('/')[0] ?? ''] : [];
  });
  return new Set(addresses);
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

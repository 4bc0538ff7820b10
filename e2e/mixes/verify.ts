/**
 * What the agents answered against what the model allows. ADDs of one mix run at the same time, so that one of them may
 * find taken what another has, or had for a moment: that is the only excuse, and it is looked for.
 */
import { addressesOf, canonical, distinct, dnsOf, type Given, ipOf, key, routesOf, same } from './answer.ts';
import {
  attachmentOf,
  type Mix,
  type MixAdd,
  type MixAnswer,
  type MixPool,
  type MixReservation,
} from './mix.ts';
import {
  type Choice,
  dynamicOf,
  type Ip,
  isDynamic,
  isEndless,
  isGivable,
  judge,
  prefixOf,
  type Verdict,
  type Wanted,
} from './model.ts';

/** What was there before and after some ADDs of a mix that ran at the same time. */
export interface Round {
  readonly mix: Mix;
  readonly before: readonly MixReservation[];
  readonly after: readonly MixReservation[];
  readonly answers: ReadonlyMap<MixAdd, MixAnswer>;
}

type Plan = Exclude<Verdict, { refused: unknown }>;

class Table {
  readonly #rows: ReadonlyMap<string, MixReservation>;

  constructor(rows: readonly MixReservation[]) {
    this.#rows = new Map(rows.map((row) => [key(row.network, ipOf(row.address)), row]));
  }

  at(network: string, ip: Ip): MixReservation | undefined {
    return this.#rows.get(key(network, ip));
  }

  /** Whether this ADD can not have it, whatever the others do. */
  isBlocked(network: string, ip: Ip, holder: string | undefined): boolean {
    const row = this.at(network, ip);
    if (row === undefined || row.state === 'Released') return false;
    return row.state === 'Bound' || holder === undefined || row.holder !== holder;
  }

  heldFor(holder: string | undefined, pools: readonly MixPool[]): { ip: Ip; pool: MixPool }[] {
    const rows = holder === undefined ? [] : [...this.#rows.values()];
    return rows.flatMap((row) => {
      const pool = pools.find((each) => each.name === row.pool);
      const ip = ipOf(row.address);
      const waits =
        row.state === 'Held' && row.holder === holder && pool !== undefined && isGivable(pool, ip);
      return waits ? [{ ip, pool }] : [];
    });
  }
}

/** What is wrong with a round, one line each; nothing if all is well. */
export function verify(round: Round): string[] {
  return new Judgement(round).run();
}

class Judgement {
  readonly #problems: string[] = [];
  readonly #round: Round;
  readonly #before: Table;
  readonly #after: Table;
  readonly #plans = new Map<MixAdd, Plan>();
  #add: MixAdd | undefined;

  constructor(round: Round) {
    this.#round = round;
    this.#before = new Table(round.before);
    this.#after = new Table(round.after);
    for (const add of round.answers.keys()) {
      const verdict = judge(round.mix, add);
      if (!('refused' in verdict)) this.#plans.set(add, verdict);
    }
  }

  run(): string[] {
    for (const [add, answer] of this.#round.answers) {
      this.#add = add;
      this.#one(add, answer);
    }
    this.#add = undefined;
    this.#leftovers();
    return this.#problems;
  }

  #say(text: string): void {
    const add = this.#add;
    this.#problems.push(`${add === undefined ? '' : `ADD ${attachmentOf(add)}: `}${text}`);
  }

  #one(add: MixAdd, answer: MixAnswer): void {
    const verdict = judge(this.#round.mix, add);
    if ('refused' in verdict) {
      const codes = [...verdict.refused];
      if (!codes.includes(answer.code)) {
        this.#say(`expected code ${codes.join(' or ')}, got ${answer.code}: ${answer.stdout}`);
      }
    } else if (answer.code === 0) {
      this.#success(add, verdict, answer);
    } else {
      this.#refusal(add, verdict, answer);
    }
  }

  /** ADDs of this round other than this one that failed and may have had several addresses before they did. */
  #undone(add: MixAdd): [MixAdd, Plan][] {
    return [...this.#plans].filter(
      ([other, plan]) =>
        other !== add &&
        this.#round.answers.get(other)?.code !== 0 &&
        plan.wanted.length + plan.choices.length > 1,
    );
  }

  #isNowOthers(add: MixAdd, network: string, ip: Ip): boolean {
    const row = this.#after.at(network, ip);
    const own = row?.attachment === attachmentOf(add);
    return row !== undefined && row.state === 'Bound' && !own;
  }

  /** Addresses of the pool that this ADD could have had and that nobody has: there may be as many as were undone. */
  #leftover(add: MixAdd, { holder }: Plan, pool: MixPool, options: { fresh: boolean }): number {
    if (isEndless(pool)) return Number.POSITIVE_INFINITY;
    const { network } = pool.spec;
    return (
      dynamicOf(pool).filter(
        (ip) =>
          !this.#before.isBlocked(network, ip, undefined) &&
          !(options.fresh && this.#before.at(network, ip) !== undefined) &&
          !this.#isNowOthers(add, network, ip) &&
          !this.#isOwn(add, network, ip),
      ).length + (options.fresh ? 0 : this.#waiting(add, holder, [pool]).length)
    );
  }

  #isOwn(add: MixAdd, network: string, ip: Ip): boolean {
    return this.#after.at(network, ip)?.attachment === attachmentOf(add);
  }

  /** Held for this pod before, and not taken by another interface of it. */
  #waiting(add: MixAdd, holder: string | undefined, pools: readonly MixPool[]): { ip: Ip; pool: MixPool }[] {
    return this.#before
      .heldFor(holder, pools)
      .filter(({ ip, pool }) => !this.#isNowOthers(add, pool.spec.network, ip));
  }

  #refusal(add: MixAdd, plan: Plan, answer: MixAnswer): void {
    const undone = this.#undone(add);
    const surely = plan.wanted.filter(({ ip, pool }) =>
      this.#before.isBlocked(pool.spec.network, ip, plan.holder),
    );
    if (surely.length > 0) {
      if (answer.code !== 102) this.#say(`expected code 102, got ${answer.code}: ${answer.stdout}`);
      return;
    }
    if (answer.code === 102) {
      const excuse = plan.wanted.some(
        ({ ip, pool }) =>
          this.#isNowOthers(add, pool.spec.network, ip) ||
          undone.some(([, other]) => mayHave(other, pool.spec.network, ip)),
      );
      if (!excuse) this.#say(`code 102, but what it asks for is nobody's: ${answer.stdout}`);
    } else if (answer.code === 101) {
      const full = plan.choices.filter((choice) => this.#isFull(add, plan, choice, slackOf(undone)));
      if (full.length === 0) this.#say(`code 101, but no family is full: ${answer.stdout}`);
    } else {
      this.#say(`expected a success, got ${answer.code}: ${answer.stdout}`);
    }
  }

  #isFull(add: MixAdd, plan: Plan, choice: Choice, slack: number): boolean {
    return choice.pools.every((pool) => this.#leftover(add, plan, pool, { fresh: false }) <= slack);
  }

  #success(add: MixAdd, plan: Plan, answer: MixAnswer): void {
    const given = addressesOf(add, answer);
    if (given === undefined) {
      this.#say(`not a result of version ${add.cniVersion}: ${answer.stdout}`);
      return;
    }
    const rest = [...given];
    const used: { ip: Ip; pool: MixPool }[] = [];
    // Below 0.3.0 a result has one field for each family, and no order.
    const families = /^0\.[12]\./.test(add.cniVersion) ? ([4, 6] as const) : plan.families;
    for (const family of families) {
      for (const want of plan.wanted.filter((each) => each.ip.family === family)) {
        const got = rest.shift();
        if (got === undefined || !same(got.ip, want.ip)) {
          this.#say(`address number ${used.length + 1} should be ${want.ip.value}: ${answer.stdout}`);
          return;
        }
        this.#wanted(add, plan, want);
        used.push(want);
      }
      for (const choice of plan.choices.filter((each) => each.family === family)) {
        const got = rest.shift();
        const pool = got === undefined ? undefined : this.#chosen(add, plan, choice, got.ip);
        if (got === undefined || pool === undefined) return;
        used.push({ ip: got.ip, pool });
      }
    }
    if (rest.length > 0) this.#say(`${rest.length} addresses too many: ${answer.stdout}`);
    this.#details(add, answer, given, used);
  }

  #wanted(add: MixAdd, plan: Plan, { ip, pool }: Wanted): void {
    const { network } = pool.spec;
    if (this.#before.isBlocked(network, ip, plan.holder)) this.#say(`got ${ip.value}, which is another's`);
    const row = this.#after.at(network, ip);
    if (row?.attachment !== attachmentOf(add) || row.pool !== pool.name) {
      this.#say(`${ip.value} is reserved as ${JSON.stringify(row)}, not in pool ${pool.name}`);
    }
  }

  /** Checks an address that was not asked for; its pool, if there is one that may have given it. */
  #chosen(add: MixAdd, plan: Plan, choice: Choice, ip: Ip): MixPool | undefined {
    const networks = [...new Set(choice.pools.map((pool) => pool.spec.network))];
    const network = networks.find((each) => this.#isOwn(add, each, ip));
    const row = network === undefined ? undefined : this.#after.at(network, ip);
    const at = choice.pools.findIndex((pool) => pool.name === row?.pool);
    const pool = choice.pools[at];
    if (network === undefined || pool === undefined) {
      this.#say(`${ip.value} is reserved as ${JSON.stringify(row)}: of none of its pools`);
      return undefined;
    }
    const waiting = this.#waiting(add, plan.holder, choice.pools);
    const [lowest] = waiting.toSorted((a, b) => (a.ip.value < b.ip.value ? -1 : 1));
    // Another interface of the pod may have had it for a moment.
    if (lowest !== undefined && (same(lowest.ip, ip) || this.#undone(add).length === 0)) {
      if (!same(lowest.ip, ip)) this.#say(`got ${ip.value}, while ${lowest.ip.value} is held for the pod`);
      return pool;
    }
    if (!isDynamic(pool, ip)) this.#say(`pool ${pool.name} does not give ${ip.value} dynamically`);
    if (this.#before.isBlocked(network, ip, undefined)) this.#say(`got ${ip.value}, which is another's`);
    const slack = slackOf(this.#undone(add));
    for (const earlier of choice.pools.slice(0, at)) {
      const left = this.#leftover(add, plan, earlier, { fresh: false });
      if (left > slack) this.#say(`served by ${pool.name}, while ${earlier.name} has ${left} addresses left`);
    }
    if (this.#before.at(network, ip)?.state === 'Released') {
      const left = this.#leftover(add, plan, pool, { fresh: true });
      if (left > slack)
        this.#say(`${ip.value} still rests, while ${left} addresses of ${pool.name} are free`);
    }
    return pool;
  }

  #details(
    add: MixAdd,
    answer: MixAnswer,
    given: readonly Given[],
    used: readonly { pool: MixPool }[],
  ): void {
    given.forEach((ip, i) => {
      const pool = used[i]?.pool;
      if (pool === undefined) return;
      if (ip.prefix !== prefixOf(pool)) this.#say(`prefix /${ip.prefix} is not that of ${pool.spec.subnet}`);
      if (ip.gateway !== pool.spec.gateway)
        this.#say(`gateway ${ip.gateway} is not that of pool ${pool.name}`);
    });
    const pools = [...new Set(used.map((each) => each.pool))];
    const short = add.cniVersion !== '1.1.0';
    const all = pools.flatMap((pool) => pool.spec.routes ?? []);
    const routes = all.map((route) =>
      short ? { dst: route.dst, ...(route.gw !== undefined && { gw: route.gw }) } : route,
    );
    const expected = distinct(routes);
    const got = routesOf(answer);
    if (canonical(got) !== canonical(expected)) {
      this.#say(`routes ${canonical(got)} instead of ${canonical(expected)}`);
    }
    const dns = dnsOf(pools);
    if (canonical(answer.output['dns']) !== canonical(dns)) {
      this.#say(`dns ${canonical(answer.output['dns'])} instead of ${canonical(dns)}`);
    }
  }

  /** What is reserved afterwards is what was there before and what was answered, and nothing else. */
  #leftovers(): void {
    const { mix, before, after, answers } = this.#round;
    const names = new Map(answers);
    for (const row of after) {
      const earlier = before.find((each) => each.network === row.network && each.address === row.address);
      const add = [...names.keys()].find((each) => attachmentOf(each) === row.attachment);
      const bound = add !== undefined && row.state === 'Bound' && earlier?.state !== 'Bound';
      if (!bound) {
        const unchanged = earlier?.state === row.state && earlier.holder === row.holder;
        if (!unchanged) this.#say(`${row.address} in ${row.network} is left as ${JSON.stringify(row)}`);
      } else if (!isAnswered(add, answers.get(add), row.address)) {
        this.#say(`${row.address} is reserved for ${attachmentOf(add)}, which was not given it (${mix.id})`);
      }
    }
    for (const row of before) {
      const isGone = !after.some((each) => each.network === row.network && each.address === row.address);
      if (isGone) this.#say(`reservation ${row.address} in ${row.network} has vanished`);
    }
  }
}

function isAnswered(add: MixAdd, answer: MixAnswer | undefined, address: string): boolean {
  if (answer === undefined || answer.code !== 0) return false;
  return (addressesOf(add, answer) ?? []).some(({ ip }) => same(ip, ipOf(address)));
}

/** How many addresses those ADDs may have had for a moment. */
function slackOf(undone: readonly (readonly [MixAdd, Plan])[]): number {
  return undone.reduce((sum, [, plan]) => sum + plan.wanted.length + plan.choices.length, 0);
}

/** Whether an ADD may have had the address for a moment. */
function mayHave(plan: Plan, network: string, ip: Ip): boolean {
  const inPool = (pool: MixPool): boolean => pool.spec.network === network && isGivable(pool, ip);
  return (
    plan.wanted.some((want) => want.pool.spec.network === network && same(want.ip, ip)) ||
    plan.choices.some((choice) => choice.pools.some(inPool))
  );
}

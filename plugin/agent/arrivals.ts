/**
 * In which order the ADDs that are under way have come in.
 *
 * A runtime that gave a sandbox up may still have an ADD of it in this agent's hands, while the pod's next sandbox has
 * been set up. The old one must not take the new one's addresses for those of a sandbox that was restarted.
 * Wall clocks jump, so arrivals are counted. Nothing is remembered while no ADD is under way, nor over a restart: the
 * process takes its ADDs with it.
 */
export class ArrivalOrder {
  #arrivals = 0;
  #underWay = 0;
  /** Pod's interface (by `interfaceKey`) to the arrival of the newest ADD that was answered. */
  readonly #answered = new Map<string, number>();

  /** An ADD has come in; `leave` must follow. @returns its place in the order */
  arrive(): number {
    this.#underWay += 1;
    this.#arrivals += 1;
    return this.#arrivals;
  }

  leave(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) {
      this.#answered.clear();
    }
  }

  answered(interfaceOf: string, arrival: number): void {
    this.#answered.set(interfaceOf, arrival);
  }

  /** True if an ADD of the same interface that came in later has been answered already. */
  isOvertaken(interfaceOf: string, arrival: number): boolean {
    return (this.#answered.get(interfaceOf) ?? 0) > arrival;
  }
}

/** One request when it is its turn: what `exchange` does, within an adaptive limit, which learns from how it ended. */
import type { AdaptiveLimit } from './adaptivelimit.ts';
import { isTurnedAway } from './apistatus.ts';
import { type ExchangeLimits, exchange, type HttpAnswer, NoAnswer } from './exchange.ts';
import type { Dispatcher, HttpRequest } from './http.ts';

export interface TurnLimits extends Omit<ExchangeLimits, 'timeoutMs'> {
  /** Monotonic time at which it is given up, also while it waits for its turn. */
  readonly deadline: number;
}

/**
 * @param isWrite whether how long it takes says how long a write takes
 * @throws NoAnswer where no complete answer came; the signal's reason if it aborted
 */
export async function exchangeInTurn(
  limit: AdaptiveLimit,
  dispatcher: Dispatcher,
  request: HttpRequest,
  { deadline, ...limits }: TurnLimits,
  isWrite: boolean,
): Promise<HttpAnswer> {
  const { clock, signal } = limits;
  const left = (): number => Math.max(deadline - clock.monotonic(), 1);
  if (!limit.tryEnter() && !(await limit.enter(left(), signal))) {
    throw new NoAnswer('its turn did not come in time: too many calls were before it', false);
  }
  const since = clock.monotonic();
  let answer: HttpAnswer | undefined;
  try {
    answer = await exchange(dispatcher, request, { ...limits, timeoutMs: left() });
    return answer;
  } finally {
    limit.leave({
      since,
      isWrite: isWrite && answer !== undefined,
      isOverload: answer === undefined ? clock.monotonic() >= deadline : isTurnedAway(answer),
    });
  }
}

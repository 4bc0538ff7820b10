/** From a request of the socket to the answer that the binary prints. Never rejects. */
import type { Clock } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import { type CniAnswer, type CniRequest, ErrorCode, errorAnswer, IMPLIED_VERSION } from '../protocol.ts';
import type { Attachments } from './attachments.ts';
import type { Canary } from './canary.ts';
import { AnnotationError, CniError, messageOf } from './errors.ts';
import { ANNOTATION_REASON, EVENT_REASONS, type PodEvents } from './podevents.ts';
import { type ParsedRequest, parseRequest } from './request.ts';
import { formatResult } from './result.ts';

export interface HandlerOptions {
  readonly attachments: Pick<Attachments, 'add' | 'del' | 'check' | 'gc'>;
  readonly canary: Pick<Canary, 'assure'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<PodEvents, 'warn'>;
  readonly onAnswered: (command: string, code: number, seconds: number) => void;
}

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC'] as const;
type Command = (typeof COMMANDS)[number];

function commandOf(text: string): Command | undefined {
  return COMMANDS.find((command) => command === text);
}

/** The version to answer in, also where the rest of the configuration is refused; undefined: nobody knows. */
function versionOf(config: string): string | undefined {
  try {
    const raw: unknown = JSON.parse(config);
    const version =
      typeof raw === 'object' && raw !== null && 'cniVersion' in raw ? raw.cniVersion : undefined;
    return typeof version === 'string' && version !== '' ? version : IMPLIED_VERSION;
  } catch (error) {
    if (error instanceof SyntaxError) {
      return undefined;
    }
    throw error;
  }
}

/** Whose request it was, for the one line of an error. */
function who(request: ParsedRequest): string {
  const { pod, id } = request;
  const owner =
    pod.name === undefined ? `container ${id.containerID}` : `pod ${pod.namespace ?? ''}/${pod.name}`;
  return `${owner}, interface ${id.ifname}`;
}

export class Handler {
  readonly #options: HandlerOptions;

  constructor(options: HandlerOptions) {
    this.#options = options;
  }

  async handle(request: CniRequest): Promise<CniAnswer> {
    const { clock, onAnswered } = this.#options;
    const start = clock.monotonic();
    const { answer, code } = await this.#answer(request);
    onAnswered(commandOf(request.command) ?? 'unknown', code, (clock.monotonic() - start) / 1000);
    return answer;
  }

  async #answer(request: CniRequest): Promise<{ answer: CniAnswer; code: number }> {
    let parsed: ParsedRequest | undefined;
    try {
      if (commandOf(request.command) === undefined) {
        throw new CniError(
          ErrorCode.invalidEnvironment,
          `command ${JSON.stringify(request.command)} is not known`,
          `known: ${COMMANDS.join(', ')}`,
        );
      }
      parsed = parseRequest(request);
      return { answer: { exitCode: 0, stdout: await this.#run(parsed) }, code: 0 };
    } catch (error) {
      const refusal = this.#refusal(error, request.command, parsed);
      const prefix = parsed === undefined || request.command === 'GC' ? '' : `${who(parsed)}: `;
      const message = `${prefix}${refusal.message}`;
      if (parsed?.command === 'ADD') {
        this.#warn(parsed, refusal, message);
      }
      return {
        answer: errorAnswer(versionOf(request.config), refusal.code, message, refusal.details),
        code: refusal.code,
      };
    }
  }

  /** Tells the pod's users what they can cure; what is only worth another try would be noise. */
  #warn({ pod, id }: ParsedRequest, refusal: CniError, message: string): void {
    const reason = refusal instanceof AnnotationError ? ANNOTATION_REASON : EVENT_REASONS[refusal.code];
    if (reason !== undefined) {
      this.#options.events.warn(pod, reason, id.ifname, message);
    }
  }

  /** The refusal behind an error; anything that is none is a fault, is logged, and worth another try. */
  #refusal(error: unknown, command: string, parsed: ParsedRequest | undefined): CniError {
    const { log } = this.#options;
    const fields = {
      command,
      containerID: parsed?.id.containerID,
      ifname: parsed?.id.ifname,
      pod: parsed?.pod,
      error,
    };
    if (error instanceof CniError) {
      if (isApiError(error.cause, 'Forbidden')) {
        // Roles or policy do not fit the agent: that mends itself by no retry, and somebody must see it.
        log.error(
          fields,
          'the API server forbids what a CNI request needs; check roles and admission policy',
        );
      } else {
        log.debug(fields, 'refused a CNI request');
      }
      return error;
    }
    log.error(fields, 'a CNI request failed');
    return new CniError(
      ErrorCode.tryAgainLater,
      `the agent failed: ${messageOf(error)}`,
      "the agent's log has the details",
      error,
    );
  }

  async #run(request: ParsedRequest): Promise<string> {
    const { attachments, canary } = this.#options;
    switch (request.command) {
      case 'ADD': {
        await canary.assure();
        const result = await attachments.add(request);
        return `${JSON.stringify(formatResult(result, request.config.cniVersion))}\n`;
      }
      case 'DEL':
        await attachments.del(request);
        return '';
      case 'CHECK':
        await attachments.check(request);
        return '';
      default:
        await attachments.gc(request);
        return '';
    }
  }
}

/**
 * A CNI request as the agent understands it: the environment, CNI_ARGS and the network configuration,
 * checked and named. Nothing here trusts its input, and nothing here has a side effect.
 */
import * as z from 'zod';
import {
  type CniRequest,
  ErrorCode,
  environmentProblem,
  IMPLIED_VERSION,
  versionProblem,
} from '../protocol.ts';
import { CniError } from './errors.ts';

/** One (containerID, ifname) pair of the CNI spec. */
export interface AttachmentId {
  readonly containerID: string;
  readonly ifname: string;
}

/** The key of an attachment in tables and locks. A containerID holds no "/" (CNI spec), an ifname neither. */
export function attachmentKey(id: AttachmentId): string {
  return `${id.containerID}/${id.ifname}`;
}

/** The pod as the runtime names it in CNI_ARGS; absent parts are undefined. */
export interface PodArgs {
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly uid: string | undefined;
}

interface AttachmentRef {
  readonly containerID: string;
  readonly ifname: string;
}

/** `ipam` of the network configuration (contract, design 4.1). */
export interface IpamConfig {
  readonly type: string;
  readonly network?: string | undefined;
  readonly pools?: readonly string[] | undefined;
  readonly socket?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly annotatePod?: boolean | undefined;
}

/** The network configuration (CNI spec, section 1), the parts that an IPAM plugin reads. */
export interface NetworkConfig {
  readonly cniVersion: string;
  readonly name: string;
  readonly ipam: IpamConfig;
  readonly args?:
    | {
        readonly cni?:
          | {
              readonly pools?: string | readonly string[] | null | undefined;
              readonly ips?: readonly string[] | null | undefined;
            }
          | null
          | undefined;
      }
    | null
    | undefined;
  readonly runtimeConfig?: { readonly ips?: readonly string[] | null | undefined } | null | undefined;
  readonly prevResult?: Readonly<Record<string, unknown>> | null | undefined;
  readonly 'cni.dev/valid-attachments'?: readonly AttachmentRef[] | null | undefined;
  readonly 'cni.dev/attachments'?: readonly AttachmentRef[] | null | undefined;
}

/** As the schema of IPReservation has it. */
const MAX_CONTAINER_ID = 128;

/** Names of networks (CNI spec, section 1, and libcni, which refuses any other). */
const NETWORK_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

const IPAM_KEYS = ['type', 'network', 'pools', 'socket', 'stateDir', 'annotatePod'] as const;

const text: z.ZodType<string> = z.string().min(1).max(253);
const texts: z.ZodType<string[]> = z.array(text).max(64);
const attachmentList: z.ZodType<AttachmentRef[] | null> = z
  .array(z.looseObject({ containerID: z.string(), ifname: z.string() }))
  .nullable();

const ipamSchema: z.ZodType<IpamConfig> = z.strictObject({
  type: z.string(),
  network: text.optional(),
  pools: texts.optional(),
  socket: z.string().optional(),
  stateDir: z.string().optional(),
  annotatePod: z.boolean().optional(),
} satisfies Record<(typeof IPAM_KEYS)[number], z.ZodType>);

const configSchema: z.ZodType<NetworkConfig> = z.looseObject({
  // What it may be has been checked before, and null and "" mean what its absence means.
  cniVersion: z
    .string()
    .nullable()
    .default('')
    .transform((version) => version || IMPLIED_VERSION),
  name: z.string().max(253).default(''),
  ipam: ipamSchema,
  args: z
    .looseObject({
      cni: z
        .looseObject({
          pools: z.union([z.string(), texts]).nullable().optional(),
          ips: texts.nullable().optional(),
        })
        .nullable()
        .optional(),
    })
    .nullable()
    .optional(),
  // Written by programs: a Go program writes a list that it does not have as null.
  runtimeConfig: z.looseObject({ ips: texts.nullable().optional() }).nullable().optional(),
  prevResult: z.looseObject({}).nullable().optional(),
  'cni.dev/valid-attachments': attachmentList.optional(),
  'cni.dev/attachments': attachmentList.optional(),
});

/** A request that is understood. */
export interface ParsedRequest {
  readonly command: string;
  readonly id: AttachmentId;
  readonly cniNetwork: string;
  readonly config: NetworkConfig;
  readonly pod: PodArgs;
  /** `IP=` of CNI_ARGS, split. */
  readonly requestedByArgs: readonly string[];
}

/** zod's first complaint as "field: what is wrong". */
function complaint(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) {
    return 'not acceptable';
  }
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const where = path === '' ? '' : `${path}.`;
    return `${issue.keys.map((k) => `"${where}${k}"`).join(', ')}: unknown key; remove it (known keys of ipam: ${IPAM_KEYS.join(', ')})`;
  }
  return `"${path}": ${issue.message}`;
}

/** @throws CniError 6 or 1 */
function parseObject(source: string, command: string): object {
  let raw: unknown;
  try {
    raw = JSON.parse(source);
  } catch (error) {
    throw new CniError(
      ErrorCode.decodingFailure,
      'the network configuration on stdin is not JSON',
      String(error),
      error,
    );
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new CniError(ErrorCode.decodingFailure, 'the network configuration on stdin is not a JSON object');
  }
  const problem = versionProblem('cniVersion' in raw ? raw.cniVersion : undefined, command);
  if (problem !== undefined) {
    throw new CniError(ErrorCode.incompatibleVersion, problem);
  }
  return raw;
}

/** All that a DEL needs to know: what it gives back is in the journal, whatever the configuration has become since. */
function forRelease(raw: object): object {
  return { cniVersion: 'cniVersion' in raw ? raw.cniVersion : undefined, ipam: { type: 'berth' } };
}

/**
 * A capability that a runtime passes must be acted on or refused (CNI conventions, "Dynamic Plugin specific fields").
 * @throws CniError 2 with key and value
 */
function refuseRanges(runtimeConfig: object): void {
  const ranges = 'ipRanges' in runtimeConfig ? runtimeConfig.ipRanges : undefined;
  const isAsked = ranges !== undefined && ranges !== null && !(Array.isArray(ranges) && ranges.length === 0);
  if (isAsked) {
    throw new CniError(
      ErrorCode.unsupportedField,
      `unsupported field in the network configuration: "runtimeConfig.ipRanges" with the value ${JSON.stringify(ranges)}`,
      'addresses come from pools (kind IPPool); remove ipRanges from the capabilities of the network configuration',
    );
  }
}

/**
 * What the same text was found to say before: a network's configuration comes anew with each of its pods. Bounded in both
 * directions; the oldest makes room.
 */
const known = new Map<string, NetworkConfig>();
const MOST_KNOWN = 32;
const LONGEST_KNOWN = 8 * 1024;

/** `parseConfig` of an ADD, which must not find what was said of another verb. */
function parseAddConfig(source: string): NetworkConfig {
  const before = known.get(source);
  if (before !== undefined) return before;
  const config = parseConfig(source, 'ADD');
  if (source.length <= LONGEST_KNOWN) {
    const [oldest] = known.keys();
    if (known.size >= MOST_KNOWN && oldest !== undefined) known.delete(oldest);
    known.set(source, config);
  }
  return config;
}

/**
 * Reads the network configuration from a request's text. Of a DEL's, only the version is looked at.
 * @throws CniError 6 if it is not a JSON object, 1 for a cniVersion that Berth does not speak or that does not have the
 *   command, 2 for a capability that Berth does not have, 7 for a key of `ipam` that is unknown, a value of the wrong
 *   kind, or a name that is none.
 */
export function parseConfig(source: string, command = 'ADD'): NetworkConfig {
  const raw = parseObject(source, command);
  const parsed = configSchema.safeParse(command === 'DEL' ? forRelease(raw) : raw);
  if (!parsed.success) {
    throw new CniError(ErrorCode.invalidConfig, `invalid network configuration: ${complaint(parsed.error)}`);
  }
  const { name, runtimeConfig } = parsed.data;
  if (command !== 'DEL' && !NETWORK_NAME.test(name)) {
    const problem =
      name === ''
        ? 'it is missing; give the network a name'
        : `${JSON.stringify(name)} must be letters, digits, "_", "." and "-", and begin with a letter or digit`;
    throw new CniError(ErrorCode.invalidConfig, `invalid network configuration: "name": ${problem}`);
  }
  if (command === 'ADD') {
    refuseRanges(runtimeConfig ?? {});
  }
  return parsed.data;
}

/**
 * Splits CNI_ARGS ("K=V;K2=V2", CNI spec section 2). Unknown keys are tolerated: runtimes add their own.
 * @throws CniError 4 for an item without "=".
 */
export function parseCniArgs(source: string): Map<string, string> {
  const args = new Map<string, string>();
  for (const item of source.split(';')) {
    if (item.trim() === '') {
      continue;
    }
    const at = item.indexOf('=');
    if (at === -1) {
      throw new CniError(
        ErrorCode.invalidEnvironment,
        `CNI_ARGS: ${JSON.stringify(item)} is not of the form KEY=VALUE`,
      );
    }
    args.set(item.slice(0, at).trim(), item.slice(at + 1).trim());
  }
  return args;
}

/** "" counts as absent: runtimes pass empty values for what they do not know. */
function present(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : value;
}

/**
 * The attachment that an ADD, DEL or CHECK is about.
 * @throws CniError 4
 */
export function parseAttachment({ command, env }: CniRequest): AttachmentId {
  const { CNI_CONTAINERID: containerID = '', CNI_IFNAME: ifname = '' } = env;
  // The rules of DEL, which asks for nothing but these two.
  const problem = environmentProblem({
    CNI_COMMAND: 'DEL',
    CNI_CONTAINERID: containerID,
    CNI_IFNAME: ifname,
  });
  if (problem !== undefined) {
    throw new CniError(ErrorCode.invalidEnvironment, problem);
  }
  // Such an attachment was never added, so a DEL of it has nothing to do.
  if (command !== 'DEL' && containerID.length > MAX_CONTAINER_ID) {
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `CNI_CONTAINERID has ${containerID.length} characters; at most ${MAX_CONTAINER_ID} fit a reservation`,
    );
  }
  return { containerID, ifname };
}

/** CNI_ARGS of a DEL, which names the pod in messages and decides nothing: what is malformed is passed over. */
function argsOfRelease(source: string): string {
  return source
    .split(';')
    .filter((item) => item.includes('='))
    .join(';');
}

/**
 * Understands a request of the socket. A DEL is refused for nothing but its version, its attachment and input that is
 * no JSON object: one that fails keeps the runtime from removing the pod, and its address from being given back.
 * @throws CniError 1, 2, 4, 6 or 7 (CNI spec, "Error").
 */
export function parseRequest(request: CniRequest): ParsedRequest {
  const config =
    request.command === 'ADD' ? parseAddConfig(request.config) : parseConfig(request.config, request.command);
  const argsText = request.env['CNI_ARGS'] ?? '';
  const args = parseCniArgs(request.command === 'DEL' ? argsOfRelease(argsText) : argsText);
  return {
    command: request.command,
    id: request.command === 'GC' ? { containerID: '', ifname: '' } : parseAttachment(request),
    cniNetwork: config.name,
    config,
    pod: {
      namespace: present(args.get('K8S_POD_NAMESPACE')),
      name: present(args.get('K8S_POD_NAME')),
      uid: present(args.get('K8S_POD_UID')),
    },
    requestedByArgs: (args.get('IP') ?? '').split(',').filter((v) => v.trim() !== ''),
  };
}

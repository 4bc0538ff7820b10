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

/**
 * Reads the network configuration from a request's text.
 * @throws CniError 6 if it is not a JSON object, 1 for a cniVersion that Berth does not speak or that does not have the
 *   command, 7 for a key of `ipam` that is unknown or a value of the wrong kind.
 */
export function parseConfig(source: string, command = 'ADD'): NetworkConfig {
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
  const parsed = configSchema.safeParse(raw);
  if (!parsed.success) {
    throw new CniError(ErrorCode.invalidConfig, `invalid network configuration: ${complaint(parsed.error)}`);
  }
  if (command === 'ADD' && parsed.data.name === '') {
    throw new CniError(
      ErrorCode.invalidConfig,
      'invalid network configuration: "name": it is missing; give the network a name',
    );
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
export function parseAttachment({ env }: CniRequest): AttachmentId {
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
  if (containerID.length > MAX_CONTAINER_ID) {
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `CNI_CONTAINERID has ${containerID.length} characters; at most ${MAX_CONTAINER_ID} fit a reservation`,
    );
  }
  return { containerID, ifname };
}

/**
 * Understands a request of the socket.
 * @throws CniError 1, 4, 6 or 7 (CNI spec, "Error").
 */
export function parseRequest(request: CniRequest): ParsedRequest {
  const config = parseConfig(request.config, request.command);
  const args = parseCniArgs(request.env['CNI_ARGS'] ?? '');
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

/** The operator's command line. Names and defaults are contract. */
import * as z from 'zod';
import { parseDuration } from '../ipam/duration.ts';
import { IpamError } from '../ipam/errors.ts';
import {
  booleanSchema,
  type Flag,
  type HostPort,
  hostPortSchema,
  kubeconfigFlag,
  type LogLevel,
  logLevelFlag,
  type Program,
} from '../process/flags.ts';
import { VERSION } from '../process/version.ts';

/** A positive duration in milliseconds. */
const durationSchema: z.ZodType<number> = z.string().transform((text, context) => {
  try {
    const ms = parseDuration(text);
    if (ms > 0) {
      return ms;
    }
    context.addIssue({ code: 'custom', message: 'use a duration above 0, such as 60s' });
  } catch (error) {
    if (!(error instanceof IpamError)) {
      throw error;
    }
    context.addIssue({ code: 'custom', message: error.message });
  }
  return z.NEVER;
});

// A type and not an interface: an interface has no index signature and so is not a record of flags.
export type OperatorFlags = {
  readonly kubeconfig: Flag<string | undefined>;
  readonly 'leader-elect': Flag<boolean>;
  readonly namespace: Flag<string | undefined>;
  readonly 'metrics-address': Flag<HostPort>;
  readonly 'health-address': Flag<HostPort>;
  readonly 'orphan-grace': Flag<number>;
  readonly 'scan-interval': Flag<number>;
  readonly 'dry-run': Flag<boolean>;
  readonly 'log-level': Flag<LogLevel>;
};

export const operatorProgram: Program<OperatorFlags> = {
  name: 'berth-operator',
  version: VERSION,
  summary: 'keeps the status of IP pools and takes back addresses whose owners are gone',
  flags: {
    kubeconfig: kubeconfigFlag,
    'leader-elect': {
      schema: booleanSchema,
      description: 'work only while holding the lease berth-operator; without it, never run two',
      placeholder: 'true|false',
      default: 'true',
      implied: 'true',
    },
    namespace: {
      schema: z
        .string()
        .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, { error: 'use the name of a namespace' })
        .optional(),
      description: "where the lease is; absent: the pod's own namespace, else berth-system",
      placeholder: 'name',
      env: 'POD_NAMESPACE',
    },
    'metrics-address': {
      schema: hostPortSchema,
      description: 'where /metrics, /healthz and /readyz are served',
      placeholder: 'host:port',
      default: ':9466',
    },
    'health-address': {
      schema: hostPortSchema,
      description: 'where /healthz and /readyz are served',
      placeholder: 'host:port',
      default: ':9467',
    },
    'orphan-grace': {
      schema: durationSchema,
      description: 'how long an owner must be gone before its address is taken back',
      placeholder: 'duration',
      default: '60s',
    },
    'scan-interval': {
      schema: durationSchema,
      description: 'how often every reservation is looked at, besides when something happens to it',
      placeholder: 'duration',
      default: '5m',
    },
    'dry-run': {
      schema: booleanSchema,
      description:
        'write nothing at all: log and count which addresses would be given back; may run beside the leader',
      placeholder: 'true|false',
      default: 'false',
      implied: 'true',
    },
    'log-level': logLevelFlag,
  },
};

/** The API server's audit log: who asked for what, and when. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** One request that has ended, the part that tests look at. */
export interface AuditEvent {
  /** get, list, watch, create, update, patch, delete. */
  readonly verb: string;
  readonly user: { readonly username: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
  readonly objectRef?: { readonly resource: string; readonly name?: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code?: number };
  /** When the API server received it, RFC 3339 with microseconds. */
  readonly requestReceivedTimestamp: string;
}

/** Where policy and log of a control plane lie. */
export function auditFilesOf(directory: string): { readonly policy: string; readonly log: string } {
  return { policy: join(directory, 'audit-policy.json'), log: join(directory, 'audit.log') };
}

/** Writes the policy, and returns the API server's flags for it. */
export async function auditFlags(directory: string): Promise<string[]> {
  const { policy, log } = auditFilesOf(directory);
  await writeFile(
    policy,
    JSON.stringify({
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['RequestReceived', 'ResponseStarted'],
      rules: [{ level: 'Metadata' }],
    }),
  );
  return [`--audit-policy-file=${policy}`, `--audit-log-path=${log}`, '--audit-log-mode=blocking-strict'];
}

/** The events of a log; a last line that is still being written is left out. */
export function parseAuditLog(text: string): AuditEvent[] {
  return (
    text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      // Written by the API server, whose schema this is.
      .map((line) => JSON.parse(line) as AuditEvent)
  );
}

/** Whether it asks for a change. */
export function isWrite({ verb }: AuditEvent): boolean {
  return !['get', 'list', 'watch'].includes(verb);
}

/** The name of the pod that the user's token is bound to; undefined for any other. */
export function podOf({ user }: AuditEvent): string | undefined {
  return user.extra?.['authentication.kubernetes.io/pod-name']?.[0];
}

/** The condition that pods, nodes and pools have in common. */

interface Conditioned {
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[] | undefined;
  };
}

/** Whether a pod's containers are all ready, a node takes pods, or a pool has been accepted. */
export function isReady({ status }: Conditioned): boolean {
  return (status?.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True');
}

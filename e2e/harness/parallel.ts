/** Doing many things, some at a time. */

/** Calls `work` for every item, at most `width` at the same time; results in the order of the items. Rejects with the first failure, after what had begun has ended. */
export async function inParallel<T, R>(
  width: number,
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const failures: unknown[] = [];
  const entries = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of entries) {
      if (failures.length > 0) return;
      try {
        results[index] = await work(item, index);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}

/** Calls `work` for every pod on its own node, on all nodes at once, at most `width` at the same time on each; results by node. */
export async function onTheirNodes<P extends { readonly node: string }, R>(
  width: number,
  nodes: readonly string[],
  pods: readonly P[],
  work: (pod: P) => Promise<R>,
): Promise<R[]> {
  const results = await Promise.all(
    nodes.map((node) =>
      inParallel(
        width,
        pods.filter((pod) => pod.node === node),
        work,
      ),
    ),
  );
  return results.flat();
}

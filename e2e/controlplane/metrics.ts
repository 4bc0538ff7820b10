/** What the API server counted. */

/** One series of `apiserver_request_total`. A watch is counted when it ends. */
export interface RequestCount {
  /** As the API server names it: GET, LIST, WATCH, POST, PUT, PATCH, DELETE, DELETECOLLECTION. */
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  /** HTTP status. */
  readonly code: number;
  readonly count: number;
}

/** Parses the labels of a Prometheus text line: `a="b",c="d"`, with `\\`, `\"` and `\n` escaped in values. */
function parseLabels(text: string): ReadonlyMap<string, string> {
  const labels = new Map<string, string>();
  for (const match of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels.set(
      match[1] ?? '',
      (match[2] ?? '').replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)),
    );
  }
  return labels;
}

/** The API server's request counters out of its /metrics text. */
export function parseRequestCounts(metrics: string): RequestCount[] {
  const counts: RequestCount[] = [];
  for (const line of metrics.split('\n')) {
    const match = /^apiserver_request_total\{(.*)\} (\S+)$/.exec(line);
    if (match === null) continue;
    const labels = parseLabels(match[1] ?? '');
    const label = (name: string): string => labels.get(name) ?? '';
    counts.push({
      verb: label('verb'),
      group: label('group'),
      resource: label('resource'),
      subresource: label('subresource'),
      code: Number(label('code')),
      count: Number(match[2]),
    });
  }
  return counts;
}

/** `after` minus `before`, the series that changed only. */
export function requestDifference(
  before: readonly RequestCount[],
  after: readonly RequestCount[],
): RequestCount[] {
  const key = (r: RequestCount): string => [r.verb, r.group, r.resource, r.subresource, r.code].join('|');
  const old = new Map<string, number>();
  for (const r of before) old.set(key(r), (old.get(key(r)) ?? 0) + r.count);
  const result = new Map<string, RequestCount>();
  for (const r of after) {
    const sum = (result.get(key(r))?.count ?? -(old.get(key(r)) ?? 0)) + r.count;
    result.set(key(r), { ...r, count: sum });
  }
  return [...result.values()].filter((r) => r.count !== 0);
}

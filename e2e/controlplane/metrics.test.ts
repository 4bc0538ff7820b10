import { describe, expect, test } from 'vitest';
import { parseRequestCounts, type RequestCount, requestDifference } from './metrics.ts';

const TEXT = `# HELP apiserver_request_total [STABLE] Counter of apiserver requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",dry_run="",group="ipam.berth.dev",resource="ipreservations",scope="resource",subresource="",verb="POST",version="v1alpha1"} 12
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/ready\\"z\\\\",verb="GET",version=""} 1e+06
apiserver_request_total_other{code="200"} 5
`;

function count(verb: string, code: number, n: number): RequestCount {
  return { verb, group: 'g', resource: 'r', subresource: '', code, count: n };
}

describe('request counts', () => {
  test('are read from apiserver_request_total alone, with escaped labels and exponents', () => {
    expect(parseRequestCounts(TEXT)).toEqual([
      {
        verb: 'POST',
        group: 'ipam.berth.dev',
        resource: 'ipreservations',
        subresource: '',
        code: 201,
        count: 12,
      },
      { verb: 'GET', group: '', resource: '', subresource: '/ready"z\\', code: 200, count: 1_000_000 },
    ]);
  });

  test('differ by what was added between two readings', () => {
    const before = [count('POST', 201, 5), count('GET', 200, 1)];
    const after = [count('POST', 201, 7), count('GET', 200, 1), count('POST', 409, 3)];
    expect(requestDifference(before, after)).toEqual([count('POST', 201, 2), count('POST', 409, 3)]);
  });

  test('of series that differ in other labels only are added up', () => {
    const before = [count('POST', 201, 1), count('POST', 201, 2)];
    const after = [count('POST', 201, 4), count('POST', 201, 4)];
    expect(requestDifference(before, after)).toEqual([count('POST', 201, 5)]);
  });
});

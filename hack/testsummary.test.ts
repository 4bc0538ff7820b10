import { describe, expect, test } from 'vitest';
import { summarize } from './testsummary.ts';

function report(fileStatus: string, ...statuses: string[]): string {
  const assertionResults = statuses.map((status, i) => ({
    fullName: `test ${i}`,
    status,
    failureMessages: status === 'failed' ? ['expected 1 to be 2\nat somewhere'] : [],
  }));
  return JSON.stringify({
    testResults: [{ name: 'a.test.ts', status: fileStatus, message: 'boom\nmore', assertionResults }],
  });
}

describe('the summary of a test run', () => {
  test('counts what passed', () => {
    expect(summarize(report('passed', 'passed', 'passed'), 0)).toEqual({
      line: '2 passed, 0 failed',
      ok: true,
      complaints: [],
    });
  });

  test('counts what failed, and names it with the first line of its message', () => {
    expect(summarize(report('failed', 'passed', 'failed'), 0)).toEqual({
      line: '1 passed, 1 failed',
      ok: false,
      complaints: ['failed: a.test.ts: test 1: expected 1 to be 2'],
    });
  });

  test.each(['skipped', 'pending', 'todo'])('takes a test that is %s for failed, and names it', (status) => {
    const summary = summarize(report('passed', 'passed', status), 0);
    expect(summary).toMatchObject({ line: '1 passed, 1 failed', ok: false });
    expect(summary.complaints).toEqual([`not run (${status}): a.test.ts: test 1`]);
  });

  test('takes a file that fails outside its tests for one failure, and names it', () => {
    expect(summarize(report('failed', 'passed'), 0)).toEqual({
      line: '1 passed, 1 failed',
      ok: false,
      complaints: ['failed outside its tests: a.test.ts: boom'],
    });
  });

  test('takes a run that vitest itself judges failed for one failure', () => {
    expect(summarize(report('passed', 'passed'), 1)).toEqual({
      line: '1 passed, 1 failed',
      ok: false,
      complaints: ['vitest ended with status 1 although every test passed: see its errors above'],
    });
  });

  test('refuses a run without a single test', () => {
    expect(() => summarize(JSON.stringify({ testResults: [] }), 0)).toThrow(/no test ran/);
  });
});

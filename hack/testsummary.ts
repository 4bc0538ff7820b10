/** What vitest's JSON report comes to. */

/** Characters of a failure's first line that are shown; vitest has printed all of it. */
const MESSAGE_LENGTH = 200;

/** The verdict over a whole run. */
export interface Summary {
  /** `123 passed, 0 failed`; what was skipped or left to do counts as failed. */
  readonly line: string;
  readonly ok: boolean;
  /** One line for each test that failed or did not run, and for each file that failed outside its tests. */
  readonly complaints: readonly string[];
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/**
 * Judges a report of vitest's `json` reporter.
 * @param exitCode vitest's own verdict; it also covers what the report does not, such as unhandled rejections
 * @throws Error where no test ran at all
 */
export function summarize(json: string, exitCode: number): Summary {
  // The shape is the documented one of vitest's (and Jest's) JSON reporter.
  const report = JSON.parse(json) as Report;
  let passed = 0;
  let failed = 0;
  const complaints: string[] = [];
  for (const file of report.testResults) {
    let failedHere = 0;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') {
        passed += 1;
        continue;
      }
      failedHere += 1;
      const why = test.failureMessages?.[0]?.split('\n', 1)[0]?.slice(0, MESSAGE_LENGTH);
      complaints.push(
        test.status === 'failed'
          ? `failed: ${file.name}: ${test.fullName}: ${why ?? 'no message'}`
          : `not run (${test.status}): ${file.name}: ${test.fullName}`,
      );
    }
    if (file.status !== 'passed' && failedHere === 0) {
      failedHere = 1;
      complaints.push(`failed outside its tests: ${file.name}: ${(file.message ?? '').split('\n')[0]}`);
    }
    failed += failedHere;
  }
  if (passed + failed === 0) throw new Error('no test ran: the report is empty');
  if (failed === 0 && exitCode !== 0) {
    failed = 1;
    complaints.push(`vitest ended with status ${exitCode} although every test passed: see its errors above`);
  }
  return { line: `${passed} passed, ${failed} failed`, ok: failed === 0, complaints };
}

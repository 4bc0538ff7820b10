/** The tables of operations.md and errors.md say what the programs say of themselves. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { EVENT_ADDRESS_CONFLICT } from '../crds/resources.ts';
import { FINDING_KINDS } from '../operator/audit.ts';
import { operatorProgram } from '../operator/flags.ts';
import { GONE_REASONS } from '../operator/liveness.ts';
import { operatorMetrics } from '../operator/metrics.ts';
import { AgentMetrics } from '../plugin/agent/metrics.ts';
import { ANNOTATION_REASON, EVENT_REASONS } from '../plugin/agent/podevents.ts';
import { DEFAULT_SOCKET, DEFAULT_STATE_DIR, ErrorCode, MARKER_FILE } from '../plugin/protocol.ts';
import { parseFlags } from '../process/flags.ts';
import { code, ROOT, readDocument, tableAfter } from './testing/markdown.ts';

const operations = readDocument('docs/operations.md');

interface FlagLine {
  readonly flag: string;
  readonly environment: string;
  readonly default: string | undefined;
}

/** The flags of a program's --help. */
function helpFlags(help: string): FlagLine[] {
  return [...help.matchAll(/^ {2}--([a-z-]+).* \(([A-Z_]+)(?:, default (\S+))?\)$/gm)].map((match) => ({
    flag: `--${match[1]}`,
    environment: match[2] ?? '',
    default: match[3],
  }));
}

function documentedFlags(heading: string): FlagLine[] {
  return tableAfter(operations, heading).map((row) => ({
    flag: code(row[0]) ?? '',
    environment: code(row[1]) ?? '',
    default: code(row[2]),
  }));
}

describe('flags', () => {
  test('of the agent are those of its --help', async () => {
    const main = join(ROOT, 'plugin/agent/main.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [main, '--help']);
    expect(helpFlags(stdout).length).toBeGreaterThan(3);
    expect(documentedFlags('### berth-agent')).toEqual(helpFlags(stdout));
  });

  test('of the operator are those of its --help', () => {
    const parsed = parseFlags(operatorProgram, ['--help'], {});
    const flags = 'help' in parsed ? helpFlags(parsed.help) : [];
    expect(flags.map(({ flag }) => flag)).toEqual(Object.keys(operatorProgram.flags).map((f) => `--${f}`));
    expect(documentedFlags('### berth-operator')).toEqual(flags);
  });
});

/** `name{label,label}` of every metric in a registry. */
function registered(registry: Registry): string[] {
  return registry.getMetricsAsArray().map((metric) => {
    // prom-client keeps the labels on the metric, but its type for this array leaves them out.
    const { labelNames } = metric as unknown as { readonly labelNames: readonly string[] };
    return labelNames.length === 0 ? metric.name : `${metric.name}{${labelNames.join(',')}}`;
  });
}

describe('metrics', () => {
  const rows = tableAfter(operations, '## Metrics');
  const documented = (program: string): Set<string | undefined> =>
    new Set(rows.filter((row) => row[1] === program).map((row) => code(row[0])));

  test('of the agent are those that it registers, with their labels', () => {
    const metrics = new AgentMetrics({ attachments: () => 0, journalPending: () => 0 });
    expect(documented('agent')).toEqual(new Set(registered(metrics.registry)));
  });

  test('of the operator are those that it registers, with their labels', () => {
    expect(documented('operator')).toEqual(new Set(registered(operatorMetrics().registry)));
  });

  test('every kind of finding is named', () => {
    expect(FINDING_KINDS.filter((kind) => !operations.includes(`\`${kind}\``))).toEqual([]);
  });

  test('every reason for which an address is taken back is named', () => {
    expect(GONE_REASONS.filter((reason) => !operations.includes(`\`${reason}\``))).toEqual([]);
  });
});

test('the files on a node are where the programs put them', () => {
  const paths = tableAfter(operations, '## Files on a node').map((row) => code(row[0]));
  expect(paths).toContain(DEFAULT_SOCKET);
  expect(paths).toContain(`${DEFAULT_STATE_DIR}/deletes/${MARKER_FILE}`);
});

test('errors.md has the Event of every code', () => {
  const rows = tableAfter(readDocument('docs/errors.md'), '# Error codes');
  const documented = rows.flatMap((row) => (code(row[4]) === undefined ? [] : [[row[0], code(row[4])]]));
  const written = { ...EVENT_REASONS, [ErrorCode.invalidConfig]: ANNOTATION_REASON };
  expect(Object.fromEntries(documented)).toEqual(written);
  expect(readDocument('docs/errors.md')).toContain(`\`${EVENT_ADDRESS_CONFLICT}\``);
});

test('errors.md has every code once, with its name', () => {
  const rows = tableAfter(readDocument('docs/errors.md'), '# Error codes');
  const documented = rows.map((row) => [Number(row[0]), code(row[1])]);
  const known = Object.entries(ErrorCode).map(([name, number]) => [number, name]);
  expect(documented).toEqual(known.toSorted(([a], [b]) => Number(a) - Number(b)));
});

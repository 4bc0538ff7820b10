/**
 * `make bench-operator`: what the operator costs with many reservations, each of a pod of its own: memory, the time
 * until it has read all of them, and CPU for each change afterwards.
 *
 * The API server is `operatorserver.ts`, in this process: filling a real one with 250,000 objects takes far longer than
 * reading them. The figures are of the operator's process alone; a real server takes longer to answer the lists.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { artefacts, operatorIsUp, Program } from '../e2e/harness/programs.ts';
import { waitFor } from '../e2e/harness/wait.ts';
import { OperatorServer } from './operatorserver.ts';
import { cpuMs, peakRssMb, rssMb } from './usage.ts';

const SIZES = [1_000, 65_000, 250_000] as const;
/** Changes after everything is read: as many new reservations, and their ends. */
const CHANGES = 2_000;

interface Row {
  readonly reservations: number;
  readonly readySeconds: number;
  readonly readyCpuSeconds: number;
  readonly peakMb: number;
  readonly restMb: number;
  readonly cpuMsOfThousandChanges: number;
  readonly writes: number;
  readonly poolBytes: number;
}

async function measure(reservations: number, directory: string): Promise<Row> {
  const server = await OperatorServer.start(reservations);
  const kubeconfig = join(directory, 'kubeconfig');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'bench', cluster: { server: server.url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'bench', user: { token: 'none' } }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  const operator = new Program({
    script: artefacts.operator,
    logFile: join(directory, `operator-${reservations}.log`),
    flags: {
      kubeconfig,
      'leader-elect': 'false',
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
    },
    isUp: operatorIsUp,
  });
  try {
    const bound = (count: number) => (): boolean => server.pool.status?.bound === String(count);
    const begun = performance.now();
    await operator.spawn();
    await waitFor('the operator has counted everything', bound(reservations), { timeoutMs: 300_000 });
    const readySeconds = (performance.now() - begun) / 1000;
    const readyCpuSeconds = cpuMs(operator.pid) / 1000;
    // Its first garbage is gone then.
    await setTimeout(5_000);
    const restMb = rssMb(operator.pid);
    const [cpuBefore, writesBefore] = [cpuMs(operator.pid), server.writes];
    for (let i = 0; i < CHANGES; i += 1) {
      server.tell(i % 2 === 0 ? 'ADDED' : 'DELETED', reservations + Math.floor(i / 2));
      if (i % 20 === 0) await setTimeout(20);
    }
    server.tell('ADDED', reservations + CHANGES);
    await waitFor('the operator has counted the changes', bound(reservations + 1), { timeoutMs: 600_000 });
    return {
      reservations,
      readySeconds,
      readyCpuSeconds,
      peakMb: peakRssMb(operator.pid),
      restMb,
      cpuMsOfThousandChanges: ((cpuMs(operator.pid) - cpuBefore) * 1000) / CHANGES,
      writes: server.writes - writesBefore,
      poolBytes: JSON.stringify(server.pool).length,
    };
  } finally {
    await operator.stop();
    await server.stop();
  }
}

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-operator-'));
try {
  process.stdout.write(
    `${cpus().length} cores, ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}\n\n`,
  );
  process.stdout.write(
    '| reservations | read and counted after | CPU until then | peak RSS | RSS at rest | CPU per 1,000 changes | status writes | pool object |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n',
  );
  for (const size of process.argv.length > 2 ? process.argv.slice(2).map(Number) : SIZES) {
    const row = await measure(size, directory);
    const cells = [
      row.reservations.toLocaleString('en'),
      `${row.readySeconds.toFixed(1)} s`,
      `${row.readyCpuSeconds.toFixed(1)} s`,
      `${row.peakMb} MB`,
      `${row.restMb} MB`,
      `${row.cpuMsOfThousandChanges.toFixed(0)} ms`,
      row.writes,
      `${(row.poolBytes / 1024).toFixed(1)} KB`,
    ];
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

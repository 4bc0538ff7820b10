/** The quickstart as a user runs it, beside whatever quickstart that user has. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isPidRunning, isRunning } from '../controlplane/child.ts';
import { attachControlPlane } from '../controlplane/controlplane.ts';
import { waitFor } from '../harness/wait.ts';
import { markedProcesses, readState } from './record.ts';
import { type Ended, ended, paragraph, Session } from './testing/session.ts';

/** Longer than any run on a busy machine. */
const PATIENCE_MS = 300_000;

interface Reservation {
  readonly spec: { readonly address: string; readonly state: string; readonly owner?: { name?: string } };
}

/** Addresses of a pod as the tour printed them. */
function printed(output: string, pod: string): string[] {
  const lines = output.split('\n').filter((line) => line.startsWith(`    ✓ ${pod} on node-`));
  return lines.flatMap((line) => line.trim().split(/\s+/).slice(-2)).toSorted();
}

/** Addresses of a pod as the API server has them now. */
async function bound(session: Session, pod: string): Promise<string[]> {
  const controlPlane = await attachControlPlane(session.places.controlPlane);
  const text = await controlPlane?.kubectl(['get', 'ipreservations', '-o', 'json']);
  // The API server's answer.
  const { items } = JSON.parse(text ?? '{"items": []}') as { items: Reservation[] };
  return items
    .filter(({ spec }) => spec.state === 'Bound' && spec.owner?.name === pod)
    .map(({ spec }) => spec.address)
    .toSorted();
}

/** What both ways of the tour have in common. */
function theTour(open: () => Promise<Session>): { session: () => Session; first: () => Ended } {
  let session: Session;
  let first: Ended;

  beforeAll(async () => {
    session = await open();
    first = await session.up();
  }, PATIENCE_MS);

  afterAll(async () => {
    await session?.down();
    await session?.close();
  }, PATIENCE_MS);

  test('ends well and gives every pod addresses of both families', () => {
    expect(first.output).toContain('All of it works');
    expect(first.code).toBe(0);
    expect(printed(first.output, 'web')).toHaveLength(4);
    expect(new Set(['web', 'db', 'batch', 'report'].flatMap((pod) => printed(first.output, pod))).size).toBe(
      12,
    );
  });

  test('shows pools and reservations as kubectl prints them, with the operator’s counts', () => {
    expect(first.output).toContain('$ kubectl get ippools,ipreservations');
    expect(first.output).toMatch(/default-v4 +default +10\.30\.0\.0\/24 +253 +4 +249 +True/);
    expect(first.output).toMatch(/storage-v6 +storage .* 2 +\d+ +True/);
    for (const address of printed(first.output, 'db')) expect(first.output).toMatch(`${address} `);
  });

  test('needs creates and no other request for its addresses', () => {
    const [, creates, others] = /counted (\d+) creates and (\d+) other requests/.exec(first.output) ?? [];
    // One for each address, and one more whenever both agents begin at the same place of the small pool.
    expect(Number(creates)).toBeGreaterThanOrEqual(12);
    expect(Number(creates)).toBeLessThan(20);
    expect(others).toBe('0');
  });

  test('says that grace and scan are 3 s', () => {
    expect(first.output).toMatch(/a grace and a scan of 3s/);
  });

  test('kills an agent, and the pods have the same addresses afterwards', async () => {
    const [, killed] = /process (\d+) is dead/.exec(first.output) ?? [];
    const [, started] = /process (\d+) serves after/.exec(first.output) ?? [];
    expect(isPidRunning(Number(killed))).toBe(false);
    const state = await readState(session.places);
    expect(state?.processes['agent-node-1']?.pid).toBe(Number(started));
    expect(first.output).toContain('web has kept its four reservations untouched');
    expect(await bound(session, 'web')).toEqual(printed(first.output, 'web'));
    expect(await bound(session, 'db')).toEqual(printed(first.output, 'db'));
  });

  test('frees the addresses of a DEL that the agent missed, and of a pod that vanished without one', async () => {
    expect(first.output).toContain('the DEL of batch is worked off');
    expect(first.output).toMatch(/came back by themselves after \d+\.\d s/);
    expect(await bound(session, 'batch')).toEqual([]);
    expect(await bound(session, 'report')).toEqual([]);
  });

  test('leaves everything running and on record', async () => {
    const state = await readState(session.places);
    expect(Object.keys(state?.processes ?? {})).toEqual(['operator', 'agent-node-1', 'agent-node-2']);
    expect(Object.values(state?.processes ?? {}).every(isRunning)).toBe(true);
    expect(await markedProcesses(session.places)).toHaveLength(5);
  });

  test('prints an ADD by hand that works as it stands', async () => {
    const commands = paragraph(first.output, 'An ADD of your own');
    const { output, code } = await session.shell([`. '${session.places.envFile}'`, ...commands]);
    expect(output).toContain('pod/mine created');
    expect(code).toBe(0);
    const addresses = await bound(session, 'mine');
    expect(addresses).toHaveLength(2);
    for (const address of addresses) expect(output).toContain(`${address}/`);
  });

  return { session: () => session, first: () => first };
}

/** quickstart-down, twice. */
function theEnd(session: () => Session): void {
  test('quickstart-down leaves no process, namespace or file of it, and a second one finds nothing', async () => {
    const down = await session().down();
    expect(down.output).toMatch(/^Removed in .* 5 processes/m);
    expect(down.code).toBe(0);
    expect(await session().traces()).toEqual([]);
    const again = await session().down();
    expect(again.output).toContain('nothing to remove');
    expect(again.code).toBe(0);
  });
}

// Without root there are no network namespaces, and `make test` then proves the other half only.
if (process.getuid?.() === 0) {
  describe('the quickstart with network namespaces', () => {
    const { session, first } = theTour(() => Session.open());

    test('pings every address of the other node’s pod', () => {
      const answered = [...first().output.matchAll(/web → db .* (\S+): answered in [\d.]+ ms/g)];
      expect(answered.map(([, address = '']) => address).toSorted()).toEqual(printed(first().output, 'db'));
    });

    test('begun anew while one is running, replaces it and says so', { timeout: PATIENCE_MS }, async () => {
      const before = await markedProcesses(session().places);
      const { output, code } = await session().up();
      expect(output).toContain('The quickstart that is running is removed first');
      expect(output).toContain('All of it works');
      expect(code).toBe(0);
      expect(before.some(isRunning)).toBe(false);
      expect(await bound(session(), 'mine')).toEqual([]);
    });

    theEnd(session);

    test('killed in the middle of a start, is removed wholly all the same', {
      timeout: PATIENCE_MS,
    }, async () => {
      const up = session().startUp();
      const over = ended(up);
      await waitFor('a server is running', async () => (await markedProcesses(session().places)).length > 0);
      up.kill('SIGKILL');
      await over;
      expect(existsSync(join(session().places.controlPlane, 'controlplane.json'))).toBe(false);
      const down = await session().down();
      expect(down.output).toMatch(/^Removed in/m);
      expect(down.code).toBe(0);
      expect(await session().traces()).toEqual([]);
    });
  });
}

describe('the quickstart without root', () => {
  const { session, first } = theTour(() =>
    process.getuid?.() === 0 ? Session.openAsNobody() : Session.open(),
  );

  test('says what it left out, and why', () => {
    expect(first().output).toContain('Left out: only root may make network namespaces');
    expect(first().output).toContain('left out here: interfaces and ping');
    expect(first().output).not.toContain('answered in');
  });

  theEnd(session);
});

describe('a quickstart that fails', () => {
  test('names the step, shows the logs, and says what to run', { timeout: PATIENCE_MS }, async () => {
    const session = await Session.open();
    try {
      // etcd and kube-apiserver that end at once.
      const programs = join(session.directory, 'programs');
      await session.shell([
        `mkdir ${programs}`,
        ...['kube-apiserver', 'etcd', 'kubectl'].map(
          (name) => `printf '#!/bin/sh\\necho the disk is on fire; exit 3' > ${programs}/${name}`,
        ),
        `chmod 755 ${programs}/*`,
      ]);
      session.env['KUBEBUILDER_ASSETS'] = programs;
      const { output, code } = await session.up();
      expect(code).toBe(1);
      expect(output).toMatch(
        /✗ Failed at step 1 \(control plane\): etcd ended while it started:\n.*the disk is on fire/,
      );
      expect(output).toContain('make quickstart-down');
      expect(readFileSync(session.places.stateFile, 'utf8')).toContain('"complete": false');
      expect((await session.down()).code).toBe(0);
      expect(await session.traces()).toEqual([]);
    } finally {
      await session.close();
    }
  });
});

import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

let directory: string;

/** Programs that the script itself uses, and those of the small packages; never the package manager. */
const SYSTEM = ['uname', 'id', 'sed', 'git', 'tar', 'cc', 'setpriv', 'taskset', 'ip', 'ping'];

async function program(name: string, prints: string): Promise<void> {
  await writeFile(join(directory, 'bin', name), `#!/bin/sh\necho '${prints}'\n`, { mode: 0o755 });
}

/** The script on a machine that has exactly what is in the directory. */
function preflight(purpose: string, env: NodeJS.ProcessEnv = {}): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync('/bin/sh', [join(import.meta.dirname, 'preflight'), purpose], {
    encoding: 'utf8',
    env: { PATH: join(directory, 'bin'), HOME: directory, ...env },
  });
  return { status, stderr };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-preflight-'));
  await mkdir(join(directory, 'bin'));
  for (const name of SYSTEM) {
    const which = spawnSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
    if (which.status === 0) await symlink(which.stdout.trim(), join(directory, 'bin', name));
    else await program(name, '');
  }
  await program('node', 'v20.1.0');
  await program('npm', '10.8.2');
  await program('go', 'go1.25.1');
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

describe('the preflight', () => {
  test('has nothing to say where everything is there', () => {
    expect(preflight('test')).toEqual({ status: 0, stderr: '' });
  });

  test('names a missing node and npm with the cure', async () => {
    await rm(join(directory, 'bin', 'node'));
    const { status, stderr } = preflight('build');
    expect(status).toBe(1);
    expect(stderr).toMatch(/missing: node and npm\n {3}cure: install Node\.js 24/);
  });

  test.each([
    ['9.2.0', 1],
    ['10.0.0', 0],
    ['11.19.1', 0],
  ])('judges npm %s by its version', async (version, status) => {
    await program('npm', version);
    expect(preflight('build').status).toBe(status);
  });

  test.each([
    ['go1.24.9', 1],
    ['go1.25', 0],
    ['go1.26rc1', 0],
    ['go2.0.1', 0],
  ])('judges %s by its version', async (version, status) => {
    await program('go', version);
    expect(preflight('test').status).toBe(status);
  });

  test('asks for Go only where something must be built', async () => {
    await rm(join(directory, 'bin', 'go'));
    expect(preflight('test')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/missing: go\n {3}cure: install Go 1\.25 or later/),
    });
    expect(preflight('build').status).toBe(0);
    const given = { KUBEBUILDER_ASSETS: '/a', CNI_BIN: '/b' };
    expect(preflight('quickstart', given).status).toBe(0);
    expect(preflight('test', given).status).toBe(1);
    expect(preflight('test', { ...given, MULTUS_BIN: '/c' }).status).toBe(0);
    for (const path of ['cnitool-1/cnitool', 'controlplane-1/kube-apiserver', 'multus-1/multus']) {
      expect(preflight('test').status).toBe(1);
      const file = join(directory, '.cache', 'berth', path);
      await mkdir(join(file, '..'), { recursive: true });
      await writeFile(file, '', { mode: 0o755 });
    }
    expect(preflight('test').status).toBe(0);
  });

  test('names a missing system package where it cannot install it', async () => {
    await rm(join(directory, 'bin', 'ip'));
    expect(preflight('quickstart').stderr).toMatch(
      /missing: system packages: iproute2\n {3}cure: install them/,
    );
  });

  test('asks for the compiler of the other architecture only in CI', async () => {
    expect(preflight('build').status).toBe(0);
    expect(preflight('build', { CI: 'true' }).stderr).toMatch(
      /missing: system packages: gcc-(aarch64|x86-64)-linux-gnu libc6-dev-(arm64|amd64)-cross/,
    );
  });

  test('takes the C compiler that CC names', async () => {
    await rm(join(directory, 'bin', 'cc'));
    expect(preflight('build').stderr).toMatch(/missing: system packages: gcc libc6-dev/);
    await program('clang', '');
    expect(preflight('build', { CC: 'clang' }).status).toBe(0);
  });

  test('lets the quickstart start without them where there is no root, which leaves that part out', async () => {
    await rm(join(directory, 'bin', 'ip'));
    await rm(join(directory, 'bin', 'id'));
    await program('id', '1000');
    expect(preflight('quickstart').status).toBe(0);
  });

  test('names everything that is missing at once', async () => {
    await rm(join(directory, 'bin', 'npm'));
    await rm(join(directory, 'bin', 'git'));
    expect(preflight('build').stderr).toContain('2 thing(s) missing');
  });

  test('names an architecture that Berth does not run on', async () => {
    await rm(join(directory, 'bin', 'uname'));
    await writeFile(
      join(directory, 'bin', 'uname'),
      '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo riscv64\n',
      {
        mode: 0o755,
      },
    );
    expect(preflight('build').stderr).toMatch(/missing: a supported architecture \(this is riscv64\)/);
  });
});

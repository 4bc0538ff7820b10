import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkSource, checkTree, importSpecifiers } from './imports.ts';

describe('import specifiers are found', () => {
  test.each([
    ['a plain import', "import { a } from './a.ts';", './a.ts'],
    ['an import type', "import type { A } from './a.ts';", './a.ts'],
    ['an import for its effect', "import './a.ts';", './a.ts'],
    ['a namespace import', "import * as a from './a.ts';", './a.ts'],
    ['a default import', "import a from './a.ts';", './a.ts'],
    ['an import over several lines', "import {\n  type A,\n  b,\n} from './a.ts';", './a.ts'],
    ['a re-export', "export { a } from './a.ts';", './a.ts'],
    ['a re-export of everything', "export * from './a.ts';", './a.ts'],
    ['a re-export of types', "export type { A } from './a.ts';", './a.ts'],
    ['a dynamic import', "const a = await import('./a.ts');", './a.ts'],
    ['a type written as import', "type A = import('./a.ts').A;", './a.ts'],
    ['double quotes', 'import { a } from "./a.ts";', './a.ts'],
  ])('%s', (_, source, specifier) => {
    expect(importSpecifiers(source).map((s) => s.specifier)).toEqual([specifier]);
  });

  test('with their lines', () => {
    const source = "import { a } from './a.ts';\n\n// no\nimport {\n  b,\n} from './b.ts';\n";
    expect(importSpecifiers(source)).toEqual([
      { specifier: './a.ts', line: 1 },
      { specifier: './b.ts', line: 6 },
    ]);
  });

  test.each([
    ['comments', "// import { a } from './a.ts';\n/* export * from './b.ts'; */"],
    ['templates', "const code = `\nimport { a } from './a.ts';\n`;"],
    ['exports of values', "export const from = './a.ts';\nexport function f(): string { return 'x'; }"],
    ['comment marks in strings', "const a = '/*'; const b = '*/';"],
  ])('not in %s', (_, source) => {
    expect(importSpecifiers(source)).toEqual([]);
  });
});

describe('import directions', () => {
  const allowed: [string, string][] = [
    ['ipam/pool.ts', './cidr.ts'],
    ['ipam/pool.test.ts', 'fast-check'],
    ['kube/client.ts', 'node:net'],
    ['kube/client.ts', '@kubernetes/client-node/dist/config.js'],
    ['kube/client.api.test.ts', '../e2e/controlplane/controlplane.ts'],
    ['crds/resources.ts', '../ipam/pool.ts'],
    ['process/flags.ts', 'zod'],
    ['plugin/cni/main.ts', '../protocol.ts'],
    ['plugin/agent/add.ts', '../../ipam/pool.ts'],
    ['operator/pools.ts', '../kube/api.ts'],
    ['e2e/quickstart/up.ts', '../../kube/api.ts'],
    ['e2e/simulation/machine.ts', '../../plugin/agent/agent.ts'],
    ['e2e/simulation/operatorhost.ts', '../../operator/operator.ts'],
    ['bench/main.ts', '../e2e/controlplane/controlplane.ts'],
    ['bench/manyagents.ts', '../plugin/agent/agent.ts'],
    ['hack/build.ts', 'esbuild'],
    ['docs/errors.test.ts', '../plugin/protocol.ts'],
  ];
  test.each(allowed)('%s may import %s', (file, specifier) => {
    expect(checkSource(file, `import '${specifier}';`)).toEqual([]);
  });

  const refused: [string, string][] = [
    ['ipam/pool.ts', 'node:net'],
    ['ipam/pool.ts', 'net'],
    ['ipam/pool.ts', '../kube/api.ts'],
    ['ipam/pool.ts', 'ip-address'],
    ['kube/client.ts', '../ipam/pool.ts'],
    ['kube/client.ts', '../crds/resources.ts'],
    ['kube/client.ts', 'zod'],
    ['kube/client.ts', '../e2e/controlplane/controlplane.ts'],
    ['crds/resources.ts', '../kube/api.ts'],
    ['crds/resources.ts', 'node:fs'],
    ['process/flags.ts', '../ipam/pool.ts'],
    ['plugin/protocol.ts', './cni/main.ts'],
    ['plugin/protocol.ts', 'node:path'],
    ['plugin/cni/main.ts', '../../ipam/pool.ts'],
    ['plugin/cni/main.ts', '../agent/add.ts'],
    ['plugin/cni/main.ts', 'zod'],
    ['plugin/agent/add.ts', '../cni/main.ts'],
    ['plugin/agent/add.ts', '../../operator/pools.ts'],
    ['operator/pools.ts', '../plugin/agent/add.ts'],
    ['operator/pools.ts', '@kubernetes/client-node'],
    ['e2e/quickstart/up.ts', '../../operator/pools.ts'],
    ['vitest.config.ts', './ipam/pool.ts'],
  ];
  test.each(refused)('%s may not import %s', (file, specifier) => {
    expect(checkSource(file, `import '${specifier}';`)).toMatchObject([{ file, specifier, line: 1 }]);
  });

  test('a planted violation is found in a tree, and dependencies are left alone', async () => {
    const root = await mkdtemp(join(tmpdir(), 'berth-imports-'));
    await mkdir(join(root, 'ipam', 'node_modules'), { recursive: true });
    await writeFile(join(root, 'ipam', 'node_modules', 'x.ts'), "import 'node:fs';\n");
    await writeFile(join(root, 'ipam', 'good.ts'), "import './bad.ts';\n");
    await writeFile(join(root, 'ipam', 'bad.ts'), "\nimport type { Api } from '../kube/api.ts';\n");
    expect(checkTree(root)).toEqual([
      {
        file: 'ipam/bad.ts',
        line: 2,
        specifier: '../kube/api.ts',
        message: 'ipam may not import kube/api.ts; it may import nothing',
      },
    ]);
    await rm(root, { recursive: true });
  });
});

/** What a reader copies from the documents must be accepted. */
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { IPPoolSpec, IPReservationSpec } from '../crds/types.ts';
import { formatAddress } from '../ipam/address.ts';
import { parseReservationName } from '../ipam/name.ts';
import { compilePool, poolProblems } from '../ipam/pool.ts';
import { parseConfig } from '../plugin/agent/request.ts';
import { documents, readDocument, type Snippet, snippets } from './testing/markdown.ts';

interface Manifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly name?: string };
  readonly spec?: unknown;
}

const all: Snippet[] = documents().flatMap((file) => snippets(file));

function of(language: string): [string, Snippet][] {
  return all
    .filter((snippet) => snippet.language === language)
    .map((snippet) => [`${snippet.file}:${snippet.line}`, snippet]);
}

function manifests(snippet: Snippet): Manifest[] {
  return parseAllDocuments(snippet.text).map((document) => {
    expect(document.errors).toEqual([]);
    // Whatever it is, the tests below look at each level before they use it.
    return document.toJS() as Manifest;
  });
}

/** Network configurations in a JSON snippet: one, or the plugins of a list, each with the list's name and version. */
function configurations(text: string): object[] {
  const parsed = JSON.parse(text) as { plugins?: object[]; ipam?: unknown };
  const { plugins, ...rest } = parsed;
  const each = plugins === undefined ? [parsed] : plugins.map((plugin) => ({ ...rest, ...plugin }));
  return each.filter((config) => 'ipam' in config);
}

/** The text has network configurations that the agent accepts. */
function expectConfigurations(text: string): void {
  const configs = configurations(text);
  expect(configs.length).toBeGreaterThan(0);
  for (const config of configs) {
    const parsed = parseConfig(JSON.stringify(config));
    expect(parsed.ipam.type).toBe('berth');
    expect(parsed.name).not.toBe('');
  }
}

test('every code block says what it is written in', () => {
  const nameless = all.filter((snippet) => snippet.language === '');
  expect(nameless.map(({ file, line }) => `${file}:${line}`)).toEqual([]);
});

describe('YAML', () => {
  test.each(of('yaml'))('%s: objects that Berth accepts', (_where, snippet) => {
    const objects = manifests(snippet);
    expect(objects.length).toBeGreaterThan(0);
    for (const { apiVersion, kind, metadata, spec } of objects) {
      const name = metadata?.name ?? '';
      expect(name).not.toBe('');
      if (kind === 'IPPool') {
        expect(apiVersion).toBe('ipam.berth.dev/v1alpha1');
        // compilePool checks what it reads.
        expect(poolProblems(compilePool(name, spec as IPPoolSpec))).toEqual([]);
      } else if (kind === 'IPReservation') {
        expect(apiVersion).toBe('ipam.berth.dev/v1alpha1');
        const { network, address } = spec as IPReservationSpec;
        const meant = parseReservationName(name);
        expect({ network: meant.network, address: formatAddress(meant.address) }).toEqual({
          network,
          address,
        });
      } else if (kind === 'NetworkAttachmentDefinition') {
        expectConfigurations((spec as { config: string }).config);
      } else {
        expect(kind).toMatch(/^(Pod|Namespace|StatefulSet|Kustomization)$/);
      }
    }
  });
});

describe('JSON', () => {
  test.each(of('json'))('%s: a network configuration that the agent accepts', (_where, snippet) => {
    expectConfigurations(snippet.text);
  });

  test('the README names the pools that it makes, in their network', () => {
    const own = snippets('README.md');
    const pools = own
      .filter((s) => s.language === 'yaml')
      .flatMap(manifests)
      .filter((object) => object.kind === 'IPPool')
      .map((object) => compilePool(object.metadata?.name ?? '', object.spec as IPPoolSpec));
    const configs = own
      .filter((s) => s.language === 'json')
      .flatMap((s) => configurations(s.text))
      .map((config) => parseConfig(JSON.stringify(config)));
    expect(configs.length).toBeGreaterThan(0);
    for (const { ipam } of configs) {
      const named = pools.filter((pool) => ipam.pools?.includes(pool.name));
      expect(named.map((pool) => pool.name)).toEqual(ipam.pools);
      expect(named.map((pool) => pool.network)).toEqual(named.map(() => ipam.network));
    }
  });
});

describe('shell', () => {
  const makefile = readDocument('Makefile');
  // npm's own format.
  const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };
  const targets = new Set([...makefile.matchAll(/^([a-z0-9-]+):/gm)].map((match) => match[1]));

  test.each(documents())('%s: its make targets and npm scripts exist', (file) => {
    const source = readDocument(file);
    const commands = [...source.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
    const lines = [...commands, ...snippets(file).flatMap((snippet) => snippet.text.split('\n'))];
    for (const line of lines) {
      const [, target] = /^(?:sudo )?make ([a-z0-9-]+)$/.exec(line.trim()) ?? [];
      if (target !== undefined) expect([...targets]).toContain(target);
      const [, script] = /\bnpm run ([a-z:]+)/.exec(line) ?? [];
      if (script !== undefined) expect(Object.keys(scripts)).toContain(script);
    }
  });
});

/**
 * What every implementation of `Api` must do, as tests that run against each of them.
 *
 * `describeApiContract` is called by memory.test.ts and client.api.test.ts. The custom resource that it works on is
 * `widgets.contract.berth.dev`: `widgetManifest` for a real API server, `widgetKind` for the in-memory one.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Api, JsonPatchOperation, KubeObject, Resource, WatchEvent, WatchOptions } from './api.ts';
import { configMaps, type Lease, leases, namespaces } from './core.ts';
import { type ApiErrorKind, isApiError } from './errors.ts';
import { formatMicroTime } from './lease.ts';
import type { MemoryResource } from './memoryrules.ts';
import { permitWrites } from './permit.ts';

/** The object of the contract's own custom resource. */
export interface Widget extends KubeObject {
  spec: { group: string; size: number; colour?: string; tags?: string[] };
  status?: { seen?: number; phase?: string };
}

export const widgets: Resource<Widget> = {
  group: 'contract.berth.dev',
  version: 'v1',
  plural: 'widgets',
  kind: 'Widget',
  namespaced: false,
};

/** The CustomResourceDefinition of `widgets`. */
export const widgetManifest: object = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.contract.berth.dev' },
  spec: {
    group: 'contract.berth.dev',
    scope: 'Cluster',
    names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        selectableFields: [{ jsonPath: '.spec.group' }, { jsonPath: '.spec.colour' }],
        additionalPrinterColumns: [
          { name: 'Group', type: 'string', jsonPath: '.spec.group' },
          { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
          { name: 'Colour', type: 'string', jsonPath: '.spec.colour', priority: 1 },
        ],
        schema: {
          openAPIV3Schema: {
            type: 'object',
            required: ['spec'],
            properties: {
              spec: {
                type: 'object',
                required: ['group', 'size'],
                properties: {
                  group: { type: 'string' },
                  size: { type: 'integer', minimum: 0 },
                  colour: { type: 'string' },
                  tags: { type: 'array', items: { type: 'string' } },
                },
              },
              status: {
                type: 'object',
                properties: { seen: { type: 'integer' }, phase: { type: 'string' } },
              },
            },
          },
        },
      },
    ],
  },
};

/** `widgets` for the in-memory API. */
export const widgetKind: MemoryResource = {
  resource: widgets,
  statusSubresource: true,
  selectableFields: ['spec.group', 'spec.colour'],
  columns: [
    { name: 'Group', path: 'spec.group' },
    { name: 'Size', path: 'spec.size' },
    { name: 'Colour', path: 'spec.colour' },
  ],
  validate: (object) => {
    // The API hands over what was written as a Widget.
    const { size } = (object as Widget).spec;
    if (size >= 0) return [];
    const message = `Invalid value: ${size}: spec.size in body should be greater than or equal to 0`;
    return [{ field: 'spec.size', message, reason: 'FieldValueInvalid' }];
  },
};

export interface ContractSetup {
  readonly api: Api;
  /** Lets time pass: really, or on a fake clock. */
  pass(ms: number): Promise<void>;
  close(): Promise<void>;
}

function isWatch(event: WatchEvent<Widget>): event is Exclude<WatchEvent<Widget>, { type: 'BOOKMARK' }> {
  return event.type !== 'BOOKMARK';
}

/** Runs the contract against what `setup` gives. */
export function describeApiContract(implementation: string, setup: () => Promise<ContractSetup>): void {
  describe(`Api contract: ${implementation}`, () => {
    let context: ContractSetup;
    let api: Api;
    let serial = 0;

    beforeAll(async () => {
      context = await setup();
      ({ api } = context);
    });
    afterAll(() => context.close());

    /** A name that no other test uses. */
    const fresh = (): string => {
      serial += 1;
      return `w${serial}`;
    };
    const widget = (name: string, spec: Partial<Widget['spec']> = {}): Widget => ({
      metadata: { name },
      spec: { group: name, size: 1, ...spec },
    });
    const create = (name = fresh(), spec: Partial<Widget['spec']> = {}): Promise<Widget> =>
      api.create(widgets, widget(name, spec));
    const nameOf = (object: KubeObject): string => object.metadata.name ?? '';
    const versionOf = (object: KubeObject): string => object.metadata.resourceVersion ?? '';
    const keyOf = (object: KubeObject): { name: string } => ({ name: nameOf(object) });
    const now = async (): Promise<string> => (await api.list(widgets, { limit: 1 })).metadata.resourceVersion;

    async function kindOf(call: Promise<unknown>): Promise<ApiErrorKind | 'no error'> {
      try {
        await call;
        return 'no error';
      } catch (error) {
        if (!isApiError(error)) throw error;
        return error.kind;
      }
    }

    /** The first `count` events other than bookmarks. */
    async function take(options: WatchOptions, count: number): Promise<string[]> {
      const seen: string[] = [];
      for await (const event of api.watch(widgets, options)) {
        if (!isWatch(event)) continue;
        seen.push(`${event.type} ${nameOf(event.object)} ${event.object.spec.size}`);
        if (seen.length === count) break;
      }
      return seen;
    }

    describe('create', () => {
      it('answers with the object and what the server added', async () => {
        const name = fresh();
        const created = await api.create(widgets, widget(name, { tags: ['a'] }));
        expect(created).toMatchObject({
          apiVersion: 'contract.berth.dev/v1',
          kind: 'Widget',
          metadata: { name, generation: 1 },
          spec: { group: name, size: 1, tags: ['a'] },
        });
        expect(created.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
        expect(created.metadata.resourceVersion).toMatch(/^\d+$/);
        expect(created.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        expect(await api.get(widgets, { name })).toEqual(created);
      });

      it('of a name that exists is AlreadyExists and changes nothing', async () => {
        const created = await create();
        expect(await kindOf(api.create(widgets, widget(nameOf(created), { size: 2 })))).toBe('AlreadyExists');
        expect(await api.get(widgets, keyOf(created))).toEqual(created);
      });

      it('of one name by twenty at once succeeds once', async () => {
        const name = fresh();
        const kinds = await Promise.all(Array.from({ length: 20 }, () => kindOf(create(name))));
        expect(kinds.toSorted()).toEqual([...Array<string>(19).fill('AlreadyExists'), 'no error'].toSorted());
      });

      it('of an object that the schema refuses is Invalid and names the field', async () => {
        const refused = create(fresh(), { size: -1 });
        await expect(refused).rejects.toMatchObject({
          kind: 'Invalid',
          status: 422,
          causes: [expect.objectContaining({ field: 'spec.size' })],
        });
      });

      it('of a name that is none is Invalid', async () => {
        expect(await kindOf(create('Not_A_Name'))).toBe('Invalid');
      });

      it('of a namespaced object without a namespace is Invalid', async () => {
        expect(await kindOf(api.create(configMaps, { metadata: { name: 'a' } }))).toBe('Invalid');
      });

      it('drops status where that is a subresource', async () => {
        const created = await api.create(widgets, { ...widget(fresh()), status: { seen: 3 } });
        expect(created.status).toBeUndefined();
      });
    });

    describe('get', () => {
      it('of a name that does not exist is NotFound', async () => {
        expect(await kindOf(api.get(widgets, { name: fresh() }))).toBe('NotFound');
      });

      it.each(['', '.', '..', 'a/b', 'a%2Fb'])('of the name "%s" is Invalid: it is no name', async (name) => {
        expect(await kindOf(api.get(widgets, { name }))).toBe('Invalid');
        expect(await kindOf(api.delete(widgets, { name }))).toBe('Invalid');
      });

      it('of a resource that the server does not have is NotFound', async () => {
        const unknown: Resource<KubeObject> = { ...widgets, plural: 'gadgets', kind: 'Gadget' };
        expect(await kindOf(api.get(unknown, { name: 'a' }))).toBe('NotFound');
        expect(await kindOf(api.list(unknown))).toBe('NotFound');
      });

      it('rejects with the reason of a signal that has aborted', async () => {
        const reason = new Error('no longer wanted');
        const signal = AbortSignal.abort(reason);
        await expect(api.get(widgets, { name: 'a' }, { signal })).rejects.toBe(reason);
      });
    });

    describe('a write that is not permitted', () => {
      const permit = (): never => {
        throw new Error('not the leader');
      };

      it('rejects with what `permit` threw, and changes nothing', async () => {
        const created = await create();
        const key = keyOf(created);
        const name = fresh();
        const next = { ...created, spec: { ...created.spec, size: 2 } };
        const patch = [{ op: 'add', path: '/spec/size', value: 2 }] as const;
        await expect(api.create(widgets, widget(name, {}), { permit })).rejects.toThrow('not the leader');
        await expect(api.update(widgets, next, { permit })).rejects.toThrow('not the leader');
        await expect(api.patch(widgets, key, patch, { permit })).rejects.toThrow('not the leader');
        await expect(api.delete(widgets, key, { permit })).rejects.toThrow('not the leader');
        expect(await api.get(widgets, key)).toEqual(created);
        expect(await kindOf(api.get(widgets, { name }))).toBe('NotFound');
      });

      it('is asked for once for each write, and never for a read, of an API whose writes are permitted', async () => {
        let asked = 0;
        const permitted = permitWrites(api, () => {
          asked += 1;
        });
        const created = await permitted.create(widgets, widget(fresh(), { size: 1 }));
        const key = keyOf(created);
        await permitted.update(widgets, { ...created, spec: { ...created.spec, size: 2 } });
        await permitted.patch(widgets, key, [{ op: 'add', path: '/spec/size', value: 3 }]);
        expect((await permitted.get(widgets, key)).spec.size).toBe(3);
        await permitted.list(widgets, { limit: 1 });
        await permitted.listTable(widgets, { limit: 1 });
        await permitted.delete(widgets, key);
        expect(asked).toBe(4);
      });
    });

    describe('update', () => {
      it('replaces the object and counts the generation', async () => {
        const created = await create(fresh(), { colour: 'red', tags: ['a', 'b'] });
        const { tags: _tags, ...spec } = created.spec;
        const updated = await api.update(widgets, { ...created, spec: { ...spec, size: 2 } });
        expect(updated.spec).toEqual({ group: created.spec.group, colour: 'red', size: 2 });
        expect(updated.metadata).toMatchObject({ uid: created.metadata.uid, generation: 2 });
        expect(versionOf(updated)).not.toBe(versionOf(created));
      });

      it('from an old version is Conflict and changes nothing', async () => {
        const created = await create();
        const updated = await api.update(widgets, { ...created, spec: { ...created.spec, size: 2 } });
        expect(await kindOf(api.update(widgets, { ...created, spec: { ...created.spec, size: 3 } }))).toBe(
          'Conflict',
        );
        expect(await api.get(widgets, keyOf(created))).toEqual(updated);
      });

      it('without a version is Invalid', async () => {
        const created = await create();
        expect(await kindOf(api.update(widgets, widget(nameOf(created), { size: 2 })))).toBe('Invalid');
      });

      it('with the uid of another object is Conflict', async () => {
        const created = await create();
        const metadata = { ...created.metadata, uid: '00000000-dead-beef-0000-000000000000' };
        expect(await kindOf(api.update(widgets, { ...created, metadata }))).toBe('Conflict');
      });

      it('of a name that does not exist is NotFound', async () => {
        const created = await create();
        await api.delete(widgets, keyOf(created));
        expect(await kindOf(api.update(widgets, created))).toBe('NotFound');
      });

      it('that changes nothing keeps the version and sends no event', async () => {
        const created = await create();
        const from = versionOf(created);
        const updated = await api.update(widgets, created);
        expect(versionOf(updated)).toBe(from);
        await api.delete(widgets, keyOf(created));
        const fieldSelector = `spec.group=${created.spec.group}`;
        expect(await take({ resourceVersion: from, fieldSelector }, 1)).toEqual([
          `DELETED ${nameOf(created)} 1`,
        ]);
      });

      it('of metadata alone does not count the generation', async () => {
        const created = await create();
        const metadata = { ...created.metadata, labels: { a: 'b' } };
        const updated = await api.update(widgets, { ...created, metadata });
        expect(updated.metadata).toMatchObject({ generation: 1, labels: { a: 'b' } });
      });
    });

    describe('status', () => {
      it('is changed by its subresource alone, which changes nothing else', async () => {
        const created = await create();
        const both = { ...created, spec: { ...created.spec, size: 9 }, status: { seen: 1 } };
        const first = await api.update(widgets, both, { subresource: 'status' });
        expect(first).toMatchObject({ spec: { size: 1 }, status: { seen: 1 }, metadata: { generation: 1 } });
        const second = await api.update(widgets, { ...first, spec: both.spec, status: { seen: 2 } });
        expect(second).toMatchObject({ spec: { size: 9 }, status: { seen: 1 }, metadata: { generation: 2 } });
      });

      it('can be patched', async () => {
        const created = await create();
        const patch: JsonPatchOperation[] = [{ op: 'add', path: '/status', value: { phase: 'Ready' } }];
        const patched = await api.patch(widgets, keyOf(created), patch, { subresource: 'status' });
        expect(patched).toMatchObject({ status: { phase: 'Ready' }, metadata: { generation: 1 } });
        const ignored = await api.patch(widgets, keyOf(created), [{ op: 'remove', path: '/status' }]);
        expect(ignored.status).toEqual({ phase: 'Ready' });
      });
    });

    describe('patch', () => {
      it('applies its operations in order', async () => {
        const created = await create(fresh(), { tags: ['a', 'c'] });
        const patched = await api.patch(widgets, keyOf(created), [
          { op: 'test', path: '/spec/tags/1', value: 'c' },
          { op: 'add', path: '/spec/tags/1', value: 'b' },
          { op: 'add', path: '/spec/tags/-', value: 'd' },
          { op: 'remove', path: '/spec/tags/0' },
          { op: 'replace', path: '/spec/size', value: 7 },
          { op: 'add', path: '/metadata/annotations', value: { 'a/b': 'x' } },
          { op: 'replace', path: '/metadata/annotations/a~1b', value: 'y' },
        ]);
        expect(patched.spec).toMatchObject({ size: 7, tags: ['b', 'c', 'd'] });
        expect(patched.metadata).toMatchObject({ generation: 2, annotations: { 'a/b': 'y' } });
      });

      const refused: [string, JsonPatchOperation][] = [
        ['a test of another value', { op: 'test', path: '/spec/size', value: 2 }],
        ['a test of a member that is not there', { op: 'test', path: '/spec/colour', value: 'red' }],
        ['a removal of a member that is not there', { op: 'remove', path: '/spec/colour' }],
        ['an addition inside a member that is not there', { op: 'add', path: '/spec/colour/a', value: 1 }],
        ['an index beyond the end', { op: 'replace', path: '/spec/tags/5', value: 'x' }],
      ];
      it.each(refused)('with %s is TestFailed and changes nothing', async (_title, operation) => {
        const created = await create(fresh(), { tags: ['a'] });
        const patch: JsonPatchOperation[] = [{ op: 'replace', path: '/spec/size', value: 5 }, operation];
        // The operation that fails comes last: the first one must not have been applied.
        expect(await kindOf(api.patch(widgets, keyOf(created), patch))).toBe('TestFailed');
        expect(await api.get(widgets, keyOf(created))).toEqual(created);
      });

      it('replaces a member that is not there by adding it, unlike RFC 6902', async () => {
        const created = await create();
        const patch: JsonPatchOperation[] = [{ op: 'replace', path: '/spec/colour', value: 'red' }];
        expect((await api.patch(widgets, keyOf(created), patch)).spec.colour).toBe('red');
      });

      it('tests a member that is not there as null', async () => {
        const created = await create();
        const patched = await api.patch(widgets, keyOf(created), [
          { op: 'test', path: '/spec/colour', value: null },
          { op: 'add', path: '/spec/colour', value: 'blue' },
        ]);
        expect(patched.spec.colour).toBe('blue');
      });

      it('tests text whatever characters are in it', async () => {
        const colour = '<a> & "b" \\ / \u2028 \u2029 \u0001 \b \u007f é 𝕏';
        const created = await create(fresh(), { colour });
        const patched = await api.patch(widgets, keyOf(created), [
          { op: 'test', path: '/spec/colour', value: colour },
          { op: 'replace', path: '/spec/size', value: 7 },
        ]);
        expect(patched.spec).toMatchObject({ colour, size: 7 });
      });

      it('that makes an object which the schema refuses is Invalid, not TestFailed', async () => {
        const created = await create();
        const patch: JsonPatchOperation[] = [{ op: 'replace', path: '/spec/size', value: -1 }];
        expect(await kindOf(api.patch(widgets, keyOf(created), patch))).toBe('Invalid');
      });

      it('of a name that does not exist is NotFound', async () => {
        expect(await kindOf(api.patch(widgets, { name: fresh() }, []))).toBe('NotFound');
      });

      it('guarded by a test has one winner among twenty', async () => {
        const created = await create();
        const race = (colour: string): Promise<Widget> =>
          api.patch(widgets, keyOf(created), [
            { op: 'test', path: '/spec/colour', value: null },
            { op: 'add', path: '/spec/colour', value: colour },
          ]);
        const kinds = await Promise.all(Array.from({ length: 20 }, (_, index) => kindOf(race(`c${index}`))));
        expect(kinds.filter((kind) => kind === 'no error')).toHaveLength(1);
        expect(kinds.filter((kind) => kind === 'TestFailed')).toHaveLength(19);
      });
    });

    describe('delete', () => {
      it('removes the object', async () => {
        const created = await create();
        await api.delete(widgets, keyOf(created));
        expect(await kindOf(api.get(widgets, keyOf(created)))).toBe('NotFound');
        expect(await kindOf(api.delete(widgets, keyOf(created)))).toBe('NotFound');
      });

      it('with an old resourceVersion is Conflict', async () => {
        const created = await create();
        const updated = await api.update(widgets, { ...created, spec: { ...created.spec, size: 2 } });
        const old = { resourceVersion: versionOf(created), uid: created.metadata.uid ?? '' };
        expect(await kindOf(api.delete(widgets, keyOf(created), { preconditions: old }))).toBe('Conflict');
        const present = { ...old, resourceVersion: versionOf(updated) };
        await api.delete(widgets, keyOf(created), { preconditions: present });
        expect(await kindOf(api.get(widgets, keyOf(created)))).toBe('NotFound');
      });

      it('with the uid of another object is Conflict', async () => {
        const created = await create();
        const preconditions = { uid: '00000000-dead-beef-0000-000000000000' };
        expect(await kindOf(api.delete(widgets, keyOf(created), { preconditions }))).toBe('Conflict');
      });

      it('waits for finalizers, and no new one can be added meanwhile', async () => {
        const name = fresh();
        const held: Widget = {
          ...widget(name),
          metadata: { name, finalizers: ['berth.dev/a', 'berth.dev/b'] },
        };
        await api.create(widgets, held);
        await api.delete(widgets, { name });
        const deleting = await api.get(widgets, { name });
        expect(deleting.metadata.deletionTimestamp).toBeDefined();
        expect(deleting.metadata.generation).toBe(2);
        const more = { ...deleting.metadata, finalizers: ['berth.dev/a', 'berth.dev/b', 'berth.dev/c'] };
        expect(await kindOf(api.update(widgets, { ...deleting, metadata: more }))).toBe('Invalid');
        const fewer = { ...deleting.metadata, finalizers: ['berth.dev/b'] };
        const less = await api.update(widgets, { ...deleting, metadata: fewer });
        expect(less.metadata.deletionTimestamp).toBe(deleting.metadata.deletionTimestamp);
        await api.patch(widgets, { name }, [{ op: 'remove', path: '/metadata/finalizers' }]);
        expect(await kindOf(api.get(widgets, { name }))).toBe('NotFound');
      });
    });

    describe('list', () => {
      it('selects by fields', async () => {
        const group = fresh();
        await create(fresh(), { group, colour: 'red' });
        const blue = await create(fresh(), { group, colour: 'blue' });
        await create(fresh(), { colour: 'blue' });
        const { items } = await api.list(widgets, { fieldSelector: `spec.group=${group},spec.colour=blue` });
        expect(items).toEqual([blue]);
        const { items: others } = await api.list(widgets, {
          fieldSelector: `spec.group=${group},spec.colour!=blue`,
        });
        expect(others).toHaveLength(1);
      });

      it('selects by name', async () => {
        const created = await create();
        const { items } = await api.list(widgets, { fieldSelector: `metadata.name=${nameOf(created)}` });
        expect(items).toEqual([created]);
      });

      it('by a field that cannot be selected is Invalid', async () => {
        expect(await kindOf(api.list(widgets, { fieldSelector: 'spec.size=1' }))).toBe('Invalid');
      });

      it('selects by labels', async () => {
        const group = fresh();
        const make = (tier: string | undefined): Promise<Widget> => {
          const name = fresh();
          return api.create(widgets, {
            ...widget(name),
            metadata: { name, labels: { group, ...(tier === undefined ? {} : { tier }) } },
          });
        };
        const [front, back, none] = [await make('front'), await make('back'), await make(undefined)];
        const select = async (rest: string): Promise<string[]> =>
          (await api.list(widgets, { labelSelector: `group=${group}${rest}` })).items.map(nameOf).toSorted();
        const names = (...objects: Widget[]): string[] => objects.map(nameOf).toSorted();
        expect(await select('')).toEqual(names(front, back, none));
        expect(await select(',tier=front')).toEqual(names(front));
        expect(await select(',tier!=front')).toEqual(names(back, none));
        expect(await select(',tier in (front, back)')).toEqual(names(front, back));
        expect(await select(',tier notin (front)')).toEqual(names(back, none));
        expect(await select(',tier')).toEqual(names(front, back));
        expect(await select(',!tier')).toEqual(names(none));
      });

      it('comes in pages of one and the same version', async () => {
        const group = fresh();
        const names: string[] = [];
        for (let i = 0; i < 5; i += 1) names.push(nameOf(await create(fresh(), { group })));
        const labels = { fieldSelector: `spec.group=${group}` };
        const first = await api.list(widgets, { ...labels, limit: 2 });
        expect(first.items).toHaveLength(2);
        // Not in the pages that follow: they show the version of the first.
        await create(`zz${group}`, { group });
        const seen = first.items.map(nameOf);
        let token = first.metadata.continue;
        while (token !== undefined && token !== '') {
          const page = await api.list(widgets, { ...labels, limit: 2, continue: token });
          expect(page.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
          expect(page.items.length).toBeLessThanOrEqual(2);
          seen.push(...page.items.map(nameOf));
          token = page.metadata.continue;
        }
        expect(seen.toSorted()).toEqual(names.toSorted());
      });

      it('as a Table has the columns in order, wide ones too, and a row for each object', async () => {
        const group = fresh();
        const red = await create(fresh(), { group, size: 3, colour: 'red' });
        const plain = await create(fresh(), { group });
        const table = await api.listTable(widgets, { fieldSelector: `spec.group=${group}` });
        expect(table.columns).toEqual(['Name', 'Group', 'Size', 'Colour']);
        expect(table.rows.toSorted((a, b) => String(a[0]).localeCompare(String(b[0])))).toEqual(
          [
            [nameOf(red), group, 3, 'red'],
            [nameOf(plain), group, 1, null],
          ].toSorted((a, b) => String(a[0]).localeCompare(String(b[0]))),
        );
        expect(table.metadata.resourceVersion).toMatch(/^\d+$/);
      });

      it('of nothing has no items', async () => {
        const none = { fieldSelector: `spec.group=${fresh()}` };
        expect((await api.list(widgets, none)).items).toEqual([]);
        expect((await api.listTable(widgets, none)).rows).toEqual([]);
      });

      it('of a namespaced resource is of one namespace, or of all', async () => {
        const name = fresh();
        const space = `contract-${name}`;
        await api.create(namespaces, { metadata: { name: space } });
        await api.create(configMaps, { metadata: { name, namespace: space }, data: { a: '1' } });
        await api.create(configMaps, { metadata: { name, namespace: 'default' }, data: { a: '2' } });
        const fieldSelector = `metadata.name=${name}`;
        const valuesIn = async (options: { namespace?: string }): Promise<(string | undefined)[]> =>
          (await api.list(configMaps, { ...options, fieldSelector })).items.map((item) => item.data?.['a']);
        expect(await valuesIn({ namespace: space })).toEqual(['1']);
        expect(new Set(await valuesIn({}))).toEqual(new Set(['1', '2']));
        expect((await api.get(configMaps, { namespace: 'default', name })).data).toEqual({ a: '2' });
      });
    });

    describe('watch', () => {
      it('from a version sees exactly the later events, in order', async () => {
        const group = fresh();
        const fieldSelector = `spec.group=${group}`;
        const before = await create(`a${group}`, { group });
        const resourceVersion = versionOf(before);
        const later = await create(`b${group}`, { group });
        const updated = await api.update(widgets, { ...before, spec: { ...before.spec, size: 2 } });
        await api.delete(widgets, keyOf(updated));
        await api.patch(widgets, keyOf(later), [{ op: 'replace', path: '/spec/size', value: 4 }]);
        expect(await take({ resourceVersion, fieldSelector }, 4)).toEqual([
          `ADDED b${group} 1`,
          `MODIFIED a${group} 2`,
          `DELETED a${group} 2`,
          `MODIFIED b${group} 4`,
        ]);
      });

      it('sees what happens while it runs', async () => {
        const group = fresh();
        const seen = take({ resourceVersion: await now(), fieldSelector: `spec.group=${group}` }, 3);
        const created = await create(`a${group}`, { group });
        await api.update(widgets, { ...created, spec: { ...created.spec, size: 2 } });
        await api.delete(widgets, keyOf(created));
        expect(await seen).toEqual([`ADDED a${group} 1`, `MODIFIED a${group} 2`, `DELETED a${group} 2`]);
      });

      it('sees objects that come into its selection as ADDED and those that leave it as DELETED', async () => {
        const group = fresh();
        const resourceVersion = await now();
        const created = await create(`a${group}`, { group });
        const away = await api.update(widgets, {
          ...created,
          spec: { ...created.spec, group: 'elsewhere', size: 2 },
        });
        await api.update(widgets, { ...away, spec: { ...away.spec, group, size: 3 } });
        expect(await take({ resourceVersion, fieldSelector: `spec.group=${group}` }, 3)).toEqual([
          `ADDED a${group} 1`,
          `DELETED a${group} 1`,
          `ADDED a${group} 3`,
        ]);
      });

      it('carries the version of the deletion in a DELETED event', async () => {
        const created = await create();
        const options = {
          resourceVersion: versionOf(created),
          fieldSelector: `spec.group=${created.spec.group}`,
        };
        await api.delete(widgets, keyOf(created));
        for await (const event of api.watch(widgets, options)) {
          if (event.type !== 'DELETED') continue;
          expect(BigInt(versionOf(event.object))).toBeGreaterThan(BigInt(versionOf(created)));
          break;
        }
        expect.assertions(1);
      });

      it('ends without an error at its time-out, after a bookmark', async () => {
        const resourceVersion = versionOf(await create());
        const types: string[] = [];
        const run = async (): Promise<void> => {
          const options = { resourceVersion, timeoutSeconds: 3, fieldSelector: 'spec.group=none' };
          for await (const event of api.watch(widgets, options)) {
            types.push(event.type);
            if (event.type === 'BOOKMARK') {
              expect(BigInt(event.resourceVersion)).toBeGreaterThanOrEqual(BigInt(resourceVersion));
            }
          }
        };
        const running = run();
        // The API server sends a bookmark only if there is something newer than when the watch began.
        for (let i = 0; i < 6; i += 1) {
          await context.pass(500);
          await create();
        }
        await running;
        expect(new Set(types)).toEqual(new Set(['BOOKMARK']));
      });

      it('rejects with the reason of its signal', async () => {
        const stop = new AbortController();
        const options = {
          resourceVersion: await now(),
          signal: stop.signal,
          fieldSelector: 'spec.group=none',
        };
        const running = take(options, 1);
        const reason = new Error('enough');
        stop.abort(reason);
        await expect(running).rejects.toBe(reason);
      });

      it('that hears nothing for its idle time-out is Unreachable', async () => {
        const options = {
          resourceVersion: await now(),
          idleTimeoutMs: 200,
          fieldSelector: 'spec.group=none',
        };
        const running = kindOf(take(options, 1));
        await context.pass(200);
        expect(await running).toBe('Unreachable');
      });

      it('with a selector that cannot be used is Invalid', async () => {
        expect(await kindOf(take({ resourceVersion: await now(), fieldSelector: 'spec.size=1' }, 1))).toBe(
          'Invalid',
        );
      });
    });

    it('Lease times go through unchanged, with microseconds', async () => {
      const renewTime = formatMicroTime(Date.UTC(2026, 1, 3, 4, 5, 6, 789));
      expect(renewTime).toBe('2026-02-03T04:05:06.789000Z');
      const lease: Lease = {
        metadata: { namespace: 'default', name: fresh() },
        spec: {
          holderIdentity: 'a',
          leaseDurationSeconds: 15,
          renewTime,
          acquireTime: renewTime,
          leaseTransitions: 0,
        },
      };
      const created = await api.create(leases, lease);
      expect(created.spec).toEqual(lease.spec);
      const old = { ...created, spec: { ...created.spec, holderIdentity: 'b' } };
      await api.update(leases, old);
      expect(await kindOf(api.update(leases, old))).toBe('Conflict');
    });
  });
}

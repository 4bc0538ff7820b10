/** An `Api` that may be told, at the last moment, not to write. */
import type { Api } from './api.ts';

/**
 * The same API, whose writes ask `permit` right before they are sent; it throws to refuse. Reads and watches do not ask.
 * A process that was suspended between its decision and the write is stopped here (lease.ts).
 */
export function permitWrites(api: Api, permit: () => void): Api {
  return {
    get: (resource, key, options) => api.get(resource, key, options),
    list: (resource, options) => api.list(resource, options),
    listTable: (resource, options) => api.listTable(resource, options),
    watch: (resource, options) => api.watch(resource, options),
    create: (resource, object, options) => api.create(resource, object, { ...options, permit }),
    update: (resource, object, options) => api.update(resource, object, { ...options, permit }),
    patch: (resource, key, patch, options) => api.patch(resource, key, patch, { ...options, permit }),
    delete: (resource, key, options) => api.delete(resource, key, { ...options, permit }),
  };
}

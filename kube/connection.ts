/**
 * Where the API server is, how to prove who we are, and the connections to it.
 *
 * - One connection pool for calls and one for watches: a watch holds its connection for minutes, and
 *   must never wait behind calls or keep them waiting.
 * - Credentials are read again every 30 s and after a 401, the kubeconfig file included: rotated tokens, CA files and client
 *   certificates are honoured, exec plugins run when their token expires. Another server needs a new process.
 * - New TLS material makes new pools; what runs on the old ones ends in peace.
 * - Does NOT speak HTTP/2 (one stream-multiplexed connection costs throughput here), does NOT support
 *   SOCKS proxies, nor the kubeconfig user field `tokenFile` (use an exec plugin or in-cluster credentials).
 */
import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { isDeepStrictEqual } from 'node:util';
// The package's main module also loads watches, port forwarding and every generated API: this file does not.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Cluster } from '@kubernetes/client-node/dist/config_types.js';
import type { Clock } from './clock.ts';
import { ConnectionPool } from './connectionpool.ts';
import type { Dispatcher } from './http.ts';

export interface ConnectionOptions {
  /** Path of a kubeconfig file; absent: the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** At most this many connections for calls (watches have their own). */
  readonly connections: number;
  readonly clock: Clock;
}

/** What one request needs. */
export interface Session {
  readonly calls: Dispatcher;
  readonly watches: Dispatcher;
  /** Authorization and impersonation headers. */
  readonly headers: Readonly<Record<string, string>>;
}

const CREDENTIALS_MAX_AGE_MS = 30_000;

type TlsOptions = Pick<
  RequestOptions,
  'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'rejectUnauthorized' | 'servername'
>;

function tlsOf(options: RequestOptions): TlsOptions {
  const { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername } = options;
  return { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername };
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (value !== undefined) headers[name.toLowerCase()] = String(value).trim();
  }
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  return headers;
}

/** A configuration that can be used, and the text of the file that it is from. */
interface Source {
  readonly config: KubeConfig;
  readonly cluster: Cluster;
  readonly text: string | undefined;
}

/**
 * @param known is given again if the file has not changed: it may hold an exec plugin's token
 * @throws Error that names the kubeconfig and what is wrong with it
 */
function load(path: string | undefined, known?: Source): Source {
  const config = new KubeConfig();
  let text: string | undefined;
  if (path !== undefined) {
    try {
      text = readFileSync(path, 'utf8');
      if (known?.text === text) return known;
      // Not from the text: relative paths in it are meant from the file's place.
      config.loadFromFile(path);
    } catch (error) {
      throw new Error(`cannot load kubeconfig ${path}: ${String(error)}`, { cause: error });
    }
  } else if (process.env['KUBERNETES_SERVICE_HOST'] === undefined) {
    throw new Error(
      'not in a cluster (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig file with --kubeconfig',
    );
  } else {
    config.loadFromCluster();
  }
  const source = path ?? 'the service account';
  const cluster = config.getCurrentCluster();
  if (cluster === null || !URL.canParse(cluster.server)) {
    throw new Error(
      `${source}: no usable current context: set current-context to one with a cluster and a server`,
    );
  }
  if (config.getCurrentUser() === null) {
    throw new Error(`${source}: the current context names a user that is not in the file`);
  }
  if (
    cluster.proxyUrl !== undefined &&
    !(/^https?:/.test(cluster.proxyUrl) && URL.canParse(cluster.proxyUrl))
  ) {
    throw new Error(`${source}: proxy-url ${cluster.proxyUrl}: only http and https proxies are supported`);
  }
  return { config, cluster, text };
}

/** The connections to one API server. */
export class Connection {
  /** What stands before /api in every path: empty, or the path of a server behind a gateway. */
  readonly basePath: string;
  /** The namespace of the kubeconfig's context or of the service account. */
  readonly namespace: string | undefined;
  #source: Source;
  readonly #url: URL;
  readonly #proxy: URL | undefined;
  readonly #options: ConnectionOptions;
  #session: Session | undefined;
  #tls: TlsOptions = {};
  #readAt = 0;
  #stale = true;
  #refreshing: Promise<Session> | undefined;
  #closed = false;
  /** Every pool that still has something to end. */
  readonly #pools = new Set<ConnectionPool>();

  /** @throws Error that says what is wrong with the kubeconfig, or that there is none. */
  constructor(options: ConnectionOptions) {
    this.#source = load(options.kubeconfig);
    const { config, cluster } = this.#source;
    this.#url = new URL(cluster.server);
    this.basePath = this.#url.pathname.replace(/\/+$/, '');
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace;
    this.#proxy = cluster.proxyUrl === undefined ? undefined : new URL(cluster.proxyUrl);
    this.#options = options;
  }

  /** The session if its credentials are fresh; else `refresh` gets it. Costs nothing, so that every call may ask. */
  get current(): Session | undefined {
    const age = this.#options.clock.monotonic() - this.#readAt;
    return this.#stale || age > CREDENTIALS_MAX_AGE_MS ? undefined : this.#session;
  }

  /** The server refused the credentials: read them again before the next call. */
  invalidate(): void {
    this.#stale = true;
  }

  /**
   * Reads the credentials again; callers at the same time share one reading.
   * @throws Error of the file system, of the exec plugin, or that names a kubeconfig which cannot be read any more.
   */
  refresh(): Promise<Session> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #read(): Promise<Session> {
    const { kubeconfig } = this.#options;
    // The service account's token is remembered for a minute by what reads it: after a 401 that must be forgotten.
    if (kubeconfig !== undefined || this.#stale) this.#source = load(kubeconfig, this.#source);
    const options: RequestOptions = {};
    await this.#source.config.applyToHTTPSOptions(options);
    if (this.#closed) throw new Error('the connection is closed');
    const tls = tlsOf(options);
    const headers = headersOf(options);
    const known = this.#session;
    if (known !== undefined && isDeepStrictEqual(tls, this.#tls)) {
      this.#session = { ...known, headers };
    } else {
      for (const pool of this.#pools) this.#retire(pool);
      this.#session = {
        calls: this.#open(tls, this.#options.connections),
        watches: this.#open(tls, undefined),
        headers,
      };
      this.#tls = tls;
    }
    this.#readAt = this.#options.clock.monotonic();
    this.#stale = false;
    return this.#session;
  }

  #open(tls: TlsOptions, connections: number | undefined): ConnectionPool {
    const { clock } = this.#options;
    const pool = new ConnectionPool({ origin: this.#url, tls, proxy: this.#proxy, connections, clock });
    this.#pools.add(pool);
    return pool;
  }

  /** Lets running calls and watches end, then frees the pool. */
  #retire(pool: ConnectionPool): void {
    const forget = (): void => {
      this.#pools.delete(pool);
    };
    pool.close().then(forget, forget);
  }

  /** Ends every connection at once; running calls fail. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stale = true;
    await Promise.all([...this.#pools].map((pool) => pool.destroy()));
    this.#pools.clear();
  }
}

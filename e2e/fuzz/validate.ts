/** A strict reader of what a CNI plugin may print: the CNI spec, section 5, and the form that Berth promises. */
import { BlockList, isIP } from 'node:net';
import { ErrorCode, SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';

const CODES: ReadonlySet<unknown> = new Set(Object.values(ErrorCode));

/** Collects what is wrong. */
class Complaints {
  readonly list: string[] = [];

  check(holds: boolean, what: string): boolean {
    if (!holds) this.list.push(what);
    return holds;
  }

  keys(where: string, value: object, allowed: readonly string[]): void {
    for (const key of Object.keys(value))
      this.check(allowed.includes(key), `${where} has the key ${JSON.stringify(key)}`);
  }

  strings(where: string, value: unknown): void {
    const all = Array.isArray(value) && value.every((each) => typeof each === 'string');
    this.check(all, `${where} is not a list of strings`);
  }
}

/** The value itself if it is text; anything else as JSON, which is never an address. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What an answer to a call must look like. */
export interface Expectation {
  readonly command: string;
  /** The version that the configuration asks for; undefined where that can not be told. */
  readonly cniVersion: string | undefined;
  /** Subnets of the pools. */
  readonly subnets: readonly string[];
}

/** What is wrong with an answer; nothing if it is valid. */
export function complaintsAbout(exitCode: number, stdout: string, expectation: Expectation): string[] {
  const to = new Complaints();
  to.check(exitCode === 0 || exitCode === 1, `exit status ${exitCode}`);
  const { command } = expectation;
  if (exitCode === 0 && command !== 'ADD' && command !== 'VERSION') {
    to.check(stdout === '', `a ${command} that succeeds prints nothing, not ${stdout.slice(0, 200)}`);
    return to.list;
  }
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch (error) {
    to.check(false, `not JSON (${String(error)}): ${stdout.slice(0, 200)}`);
  }
  to.check(stdout.endsWith('}\n') && stdout.indexOf('\n') === stdout.length - 1, 'not exactly one line');
  if (!isObject(json)) to.check(false, 'not a JSON object');
  else if (exitCode !== 0) error(to, json, expectation);
  else if (command === 'VERSION') version(to, json);
  else result(to, json, expectation);
  return to.list;
}

function error(to: Complaints, json: Record<string, unknown>, { cniVersion }: Expectation): void {
  to.keys('the error', json, ['cniVersion', 'code', 'msg', 'details']);
  const { code, msg, details } = json;
  to.check(SUPPORTED_VERSIONS.includes(String(json['cniVersion'])), 'cniVersion is not a supported one');
  if (cniVersion !== undefined)
    to.check(json['cniVersion'] === cniVersion, `cniVersion is not ${cniVersion}`);
  to.check(CODES.has(code), `code ${String(code)} is in no table`);
  if (to.check(typeof msg === 'string', 'msg is not text')) {
    to.check(String(msg).trim() !== '' && String(msg).length <= 1024, 'msg is empty or too long');
    to.check(
      !/[\p{Cc}\u2028\u2029]/u.test(String(msg)),
      `msg has control characters: ${JSON.stringify(msg)}`,
    );
    to.check(
      !/the agent failed|internal error|unexpected: /.test(String(msg)),
      `msg speaks of a fault: ${String(msg)}`,
    );
  }
  if (typeof details === 'string') {
    to.check(!/[^\P{Cc}\n]/u.test(details), 'details has control characters');
    to.check(details.length <= 16 * 1024, 'details is too long');
  } else to.check(details === undefined, 'details is not text');
}

function version(to: Complaints, json: Record<string, unknown>): void {
  to.keys('the answer', json, ['cniVersion', 'supportedVersions']);
  to.check(SUPPORTED_VERSIONS.includes(String(json['cniVersion'])), 'cniVersion is not a supported one');
  to.check(
    JSON.stringify(json['supportedVersions']) === JSON.stringify(SUPPORTED_VERSIONS),
    'supportedVersions',
  );
}

function result(to: Complaints, json: Record<string, unknown>, expectation: Expectation): void {
  const { cniVersion } = json;
  to.check(
    cniVersion === expectation.cniVersion,
    `cniVersion ${String(cniVersion)} is not ${expectation.cniVersion}`,
  );
  const { subnets } = expectation;
  if (cniVersion === '0.1.0' || cniVersion === '0.2.0') {
    to.keys('the result', json, ['cniVersion', 'ip4', 'ip6', 'dns']);
    to.check('ip4' in json || 'ip6' in json, 'no address');
    for (const [key, family] of [
      ['ip4', 4],
      ['ip6', 6],
    ] as const) {
      const entry = json[key];
      if (entry === undefined) continue;
      if (!isObject(entry)) {
        to.check(false, `${key} is no object`);
        continue;
      }
      to.keys(key, entry, ['ip', 'gateway', 'routes']);
      to.check(
        familyOf(to, key, entry['ip'], entry['gateway'], subnets) === family,
        `${key} is of the other family`,
      );
      if (entry['routes'] !== undefined) routes(to, entry['routes'], false);
    }
  } else {
    to.keys('the result', json, ['cniVersion', 'ips', 'routes', 'dns']);
    const { ips } = json;
    const list: unknown[] = Array.isArray(ips) ? ips : [];
    to.check(list.length > 0, 'no address');
    for (const entry of list) {
      if (isObject(entry)) item(to, entry, String(cniVersion).startsWith('0.'), subnets);
      else to.check(false, 'an entry of ips is no object');
    }
    routes(to, json['routes'], cniVersion === '1.1.0');
  }
  dns(to, json['dns']);
}

function item(
  to: Complaints,
  entry: Record<string, unknown>,
  old: boolean,
  subnets: readonly string[],
): void {
  to.keys('an entry of ips', entry, ['address', 'gateway', ...(old ? ['version'] : [])]);
  const family = familyOf(to, 'an entry of ips', entry['address'], entry['gateway'], subnets);
  if (old) to.check(entry['version'] === String(family), 'version is not the family');
}

/** The family of an address with prefix length that lies in one of the subnets, and of its gateway; 0 if it is none. */
function familyOf(
  to: Complaints,
  where: string,
  text: unknown,
  gateway: unknown,
  subnets: readonly string[],
): number {
  const [address = '', length = '', ...more] = String(text).split('/');
  const family = isIP(address);
  const digits = /^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128);
  to.check(
    family !== 0 && digits && more.length === 0,
    `${where}: ${String(text)} is no address with its prefix length`,
  );
  const type = family === 6 ? 'ipv6' : 'ipv4';
  const home = subnets.find((subnet) => {
    const [base = '', bits] = subnet.split('/');
    if (isIP(base) !== family || family === 0) return false;
    const list = new BlockList();
    list.addSubnet(base, Number(bits), type);
    return bits === length && list.check(address, type);
  });
  to.check(home !== undefined, `${where}: ${String(text)} is in no pool`);
  if (gateway !== undefined)
    to.check(isIP(textOf(gateway)) === family, `${where}: gateway ${textOf(gateway)}`);
  return family;
}

function routes(to: Complaints, value: unknown, full: boolean): void {
  if (!Array.isArray(value)) {
    to.check(false, 'routes is no list');
    return;
  }
  const numbers = full ? ['mtu', 'advmss', 'priority', 'table', 'scope'] : [];
  for (const route of value as unknown[]) {
    if (!isObject(route)) {
      to.check(false, 'a route is no object');
      continue;
    }
    to.keys('a route', route, ['dst', 'gw', ...numbers]);
    to.check(isIP(String(route['dst']).split('/')[0] ?? '') !== 0, 'dst of a route');
    if (route['gw'] !== undefined) to.check(isIP(textOf(route['gw'])) !== 0, 'gw of a route');
    for (const name of numbers) {
      to.check(
        route[name] === undefined || Number.isInteger(route[name]),
        `${name} of a route is no whole number`,
      );
    }
  }
}

function dns(to: Complaints, value: unknown): void {
  if (!isObject(value)) {
    to.check(false, 'dns is no object');
    return;
  }
  to.keys('dns', value, ['nameservers', 'domain', 'search', 'options']);
  for (const key of ['nameservers', 'search', 'options']) {
    if (value[key] !== undefined) to.strings(key, value[key]);
  }
  to.check(value['domain'] === undefined || typeof value['domain'] === 'string', 'domain is not text');
}

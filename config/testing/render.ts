/** The manifests for another namespace and other service accounts, as a chart or an overlay would make them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export interface Installation {
  readonly namespace: string;
  /** Names of the service accounts. */
  readonly agent: string;
  readonly operator: string;
}

/** What the files themselves say. */
export const SHIPPED: Installation = {
  namespace: 'berth-system',
  agent: 'berth-agent',
  operator: 'berth-operator',
};

/** Another one: nothing may depend on the names. */
export const ELSEWHERE: Installation = {
  namespace: 'net-system',
  agent: 'ipam-agent',
  operator: 'ipam-operator',
};

/** The manifests of `config/rbac` and `config/policy`, but for what is opted into, as one list. */
export function render(installation: Installation): string {
  const items = ['rbac', 'policy'].flatMap((folder) =>
    yamlFiles(join(import.meta.dirname, '..', folder)).flatMap((file) =>
      parseAllDocuments(readFileSync(file, 'utf8')).map((document) =>
        // YAML has no type; config.test.ts holds the files to these few fields.
        renderOne(document.toJS() as Manifest, installation),
      ),
    ),
  );
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}

function yamlFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => join(folder, file));
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly subjects?: readonly { readonly name: string; readonly namespace: string }[];
  readonly spec?: { readonly matchConditions?: readonly { readonly expression: string }[] };
}

function renderOne(manifest: Manifest, installation: Installation): Manifest {
  const account = (name: string): string => {
    if (name === SHIPPED.agent) return installation.agent;
    if (name === SHIPPED.operator) return installation.operator;
    throw new Error(`${manifest.kind} ${manifest.metadata.name} names a service account of nobody: ${name}`);
  };
  const { namespace } = installation;
  const { metadata, subjects, spec } = manifest;
  const conditions = spec?.matchConditions;
  return {
    ...manifest,
    metadata: {
      ...metadata,
      ...(metadata.namespace !== undefined && { namespace }),
      ...(manifest.kind === 'ServiceAccount' && { name: account(metadata.name) }),
    },
    ...(subjects !== undefined && {
      subjects: subjects.map((subject) => ({ ...subject, namespace, name: account(subject.name) })),
    }),
    ...(conditions !== undefined && {
      spec: {
        ...spec,
        matchConditions: conditions.map((condition) => ({
          ...condition,
          expression: condition.expression.replace(
            userOf(SHIPPED, SHIPPED.agent),
            userOf(installation, installation.agent),
          ),
        })),
      },
    }),
  };
}

/** The user name of a service account. */
export function userOf({ namespace }: Installation, account: string): string {
  return `system:serviceaccount:${namespace}:${account}`;
}

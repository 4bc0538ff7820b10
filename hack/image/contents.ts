/** What is in the image above its base, and how it is started. The Dockerfile says the same, and a test compares the two. */

/** A file of the repository and its place in the image; `${TARGETARCH}` is amd64 or arm64. */
export interface Content {
  readonly from: string;
  readonly to: string;
  readonly mode: number;
}

export const APPLICATION: readonly Content[] = [
  { from: 'dist/agent.mjs', to: '/berth/agent.mjs', mode: 0o644 },
  { from: 'dist/operator.mjs', to: '/berth/operator.mjs', mode: 0o644 },
  { from: 'dist/install.mjs', to: '/berth/install.mjs', mode: 0o644 },
  { from: 'dist/remove.mjs', to: '/berth/remove.mjs', mode: 0o644 },
  { from: 'dist/verify.mjs', to: '/berth/verify.mjs', mode: 0o644 },
  // The licences of what is bundled.
  { from: 'dist/agent.mjs.LEGAL.txt', to: '/berth/agent.mjs.LEGAL.txt', mode: 0o644 },
  { from: 'dist/operator.mjs.LEGAL.txt', to: '/berth/operator.mjs.LEGAL.txt', mode: 0o644 },
  { from: 'dist/remove.mjs.LEGAL.txt', to: '/berth/remove.mjs.LEGAL.txt', mode: 0o644 },
  { from: 'dist/verify.mjs.LEGAL.txt', to: '/berth/verify.mjs.LEGAL.txt', mode: 0o644 },
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the Dockerfile's variable
  { from: 'dist/berth-linux-${TARGETARCH}', to: '/berth/berth', mode: 0o755 },
  { from: 'LICENSE', to: '/berth/LICENSE', mode: 0o644 },
];

export const IMAGE_CONFIG = {
  entrypoint: ['/usr/local/bin/node'],
  command: ['/berth/operator.mjs', '--help'],
  environment: { PATH: '/usr/local/bin', NODE_ENV: 'production' },
  // The agent's manifest says root: the files of a node are root's.
  user: '65532:65532',
} as const;

/** @param env BERTH_SOURCE and BERTH_REVISION, where the build has them */
export function labelsOf(
  version: string,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const optional = { source: env['BERTH_SOURCE'], revision: env['BERTH_REVISION'] };
  const labels: Record<string, string> = {
    title: 'Berth',
    description: 'IP address management for Kubernetes: operator, node agent and CNI plugin',
    licenses: 'Apache-2.0',
    version,
  };
  for (const [name, value] of Object.entries(optional)) if (value) labels[name] = value;
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [`org.opencontainers.image.${name}`, value]),
  );
}

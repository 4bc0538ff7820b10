/** The docker command line, for one daemon. */
import { type Run, type RunOptions, run } from '../controlplane/run.ts';

/** One daemon. */
export class Docker {
  /** The environment that reaches it, for programs that call docker themselves, such as kind. */
  readonly env: NodeJS.ProcessEnv;
  /** True if this machine's user runs it, and it is not ours to stop. */
  readonly foreign: boolean;
  readonly #run: Run;

  /** @param socket absent: the daemon that the machine's own docker command reaches */
  constructor(socket?: string) {
    this.foreign = socket === undefined;
    const host = socket === undefined ? {} : { DOCKER_HOST: `unix://${socket}` };
    // Not every machine has the plugin that BuildKit needs; the old builder is in the daemon itself.
    this.env = { ...process.env, ...host, DOCKER_BUILDKIT: '0' };
    this.#run = run;
  }

  /** Runs a docker command. @throws RunError with the end of what it said */
  run(args: readonly string[], options: Omit<RunOptions, 'env'> = {}): Promise<string> {
    return this.#run('docker', args, { ...options, env: this.env });
  }

  /** Whether the daemon answers. */
  async answers(): Promise<boolean> {
    try {
      await this.run(['version']);
      return true;
    } catch (error) {
      if (error instanceof Error) return false;
      throw error;
    }
  }

  /** Whether the daemon has an image of this name. */
  async hasImage(image: string): Promise<boolean> {
    return (await this.run(['images', '--quiet', image])).trim() !== '';
  }

  /** Removes a container, if there is one of that name, with its volumes. */
  async remove(container: string): Promise<void> {
    const found = await this.run(['ps', '--all', '--quiet', '--filter', `name=^/${container}$`]);
    if (found.trim() !== '') await this.run(['rm', '--force', '--volumes', container]);
  }

  /** Runs a shell line in a container. */
  shell(container: string, line: string, input?: string): Promise<string> {
    const options = input === undefined ? {} : { input };
    return this.run(['exec', '--interactive', container, 'sh', '-ec', line], options);
  }
}

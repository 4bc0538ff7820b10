/**
 * Command-line flags as both programs have them.
 *
 * - `--name value` or `--name=value`; a flag with an implied value may stand alone (`--dry-run`).
 * - A flag beats its environment variable, which beats the default. An empty variable counts as unset.
 * - Everything unknown, missing or malformed is a UsageError that names the flag, the value and the cure.
 * - `--help` and `--version` answer a text and nothing else is looked at.
 */
import * as z from 'zod';

/** One flag. `T` is what the program gets. */
export interface Flag<T> {
  /** Turns the text into the value; its message says what would have been right. */
  readonly schema: z.ZodType<T>;
  /** One line for `--help`, without a full stop. */
  readonly description: string;
  /** What `--help` shows for the value. Defaults to "string". */
  readonly placeholder?: string;
  /** The environment variable. Defaults to BERTH_ and the flag's name in capitals with _ for -. */
  readonly env?: string;
  /** As if it had been given. Absent: the flag is required, unless the schema accepts undefined. */
  readonly default?: string;
  /** The value of a flag that stands alone. Such a flag takes a value only with `=`. */
  readonly implied?: string;
}

export type Flags = Readonly<Record<string, Flag<unknown>>>;

export type FlagValues<F extends Flags> = {
  readonly [Name in keyof F]: F[Name] extends Flag<infer T> ? T : never;
};

/** What a program says of itself in `--help` and `--version`. */
export interface Program<F extends Flags> {
  readonly name: string;
  readonly version: string;
  /** What it does, one line. */
  readonly summary: string;
  readonly flags: F;
}

export type ParsedFlags<F extends Flags> = { readonly values: FlagValues<F> } | { readonly help: string };

/** The command line is wrong. `message` is one line and names the flag, the value and the cure. Exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Reads the flags of `program` from `argv` (without the interpreter and the script) and `env`.
 * @returns the values, or the text to print for `--help` and `--version`.
 * @throws UsageError
 */
export function parseFlags<F extends Flags>(
  program: Program<F>,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ParsedFlags<F> {
  const given = readArguments(program, argv);
  if ('help' in given) {
    return given;
  }
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(program.flags)) {
    values[name] = valueOf(name, flag, given.texts.get(name), env);
  }
  // The loop above set exactly the keys of F, each to what its own schema made of the text.
  return { values: values as FlagValues<F> };
}

function readArguments<F extends Flags>(
  program: Program<F>,
  argv: readonly string[],
): { readonly texts: ReadonlyMap<string, string> } | { readonly help: string } {
  const texts = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    if (argument === '--help' || argument === '-h') {
      return { help: helpText(program) };
    }
    if (argument === '--version') {
      return { help: `${program.name} ${program.version}\n` };
    }
    const [, name, inline] = /^--([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === undefined) {
      throw new UsageError(`unexpected argument "${argument}": flags are --name value or --name=value`);
    }
    const flag = Object.hasOwn(program.flags, name) ? program.flags[name] : undefined;
    if (flag === undefined) {
      throw new UsageError(`unknown flag --${name}: the flags are ${names(program.flags)}`);
    }
    if (texts.has(name)) {
      throw new UsageError(`--${name} is given twice: give it once`);
    }
    let text = inline ?? flag.implied;
    if (text === undefined) {
      i += 1;
      text = argv[i];
      if (text === undefined || text.startsWith('--')) {
        throw new UsageError(`--${name} needs a value: --${name} <${flag.placeholder ?? 'string'}>`);
      }
    }
    texts.set(name, text);
  }
  return { texts };
}

function valueOf(
  name: string,
  flag: Flag<unknown>,
  argument: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): unknown {
  const variable = flag.env ?? variableOf(name);
  const fromEnv = env[variable] === '' ? undefined : env[variable];
  const text = argument ?? fromEnv ?? flag.default;
  const parsed = flag.schema.safeParse(text);
  if (parsed.success) {
    return parsed.data;
  }
  if (text === undefined) {
    throw new UsageError(
      `--${name} is required: give --${name} <${flag.placeholder ?? 'string'}> or set ${variable}`,
    );
  }
  const source =
    argument === undefined && fromEnv !== undefined ? `${variable} (for --${name})` : `--${name}`;
  throw new UsageError(
    `${source} is "${text}": ${parsed.error.issues.map((issue) => issue.message).join('; ')}`,
  );
}

function variableOf(name: string): string {
  return `BERTH_${name.toUpperCase().replaceAll('-', '_')}`;
}

function names(flags: Flags): string {
  return Object.keys(flags)
    .map((name) => `--${name}`)
    .join(', ');
}

function helpText<F extends Flags>(program: Program<F>): string {
  const rows = Object.entries(program.flags).map(([name, flag]): readonly [string, string] => {
    const value = flag.placeholder ?? 'string';
    const left = flag.implied === undefined ? `--${name} <${value}>` : `--${name}[=<${value}>]`;
    const fallback = flag.default === undefined ? '' : `, default ${flag.default}`;
    return [left, `${flag.description} (${flag.env ?? variableOf(name)}${fallback})`];
  });
  rows.push(['--help', 'show this text'], ['--version', 'show the version']);
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
  return `${program.name}: ${program.summary}\n\nFlags (in brackets the environment variable, which the flag beats):\n${lines.join('\n')}\n`;
}

/** "true" or "false". Use it with `implied: 'true'`. */
export const booleanSchema: z.ZodType<boolean> = z
  .enum(['true', 'false'], { error: 'use true or false' })
  .transform((text) => text === 'true');

/** Where a server listens. An empty host means every interface, port 0 any free port. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** "host:port": a name, an IPv4 address, an IPv6 address in brackets, or nothing for every interface; port 0 to 65535. */
export const hostPortSchema: z.ZodType<HostPort> = z.string().transform((text, context) => {
  const [, bracketed, plain, port] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    context.addIssue({
      code: 'custom',
      message: 'use host:port, such as 127.0.0.1:8080 or [::1]:8080, port 0 for any free one',
    });
    return z.NEVER;
  }
  return { host: bracketed ?? plain ?? '', port: Number(port) };
});

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `--log-level`, the same in every program. */
export const logLevelFlag: Flag<LogLevel> = {
  schema: z.enum(LOG_LEVELS, { error: `use one of ${LOG_LEVELS.join(', ')}` }),
  description: 'the least severe messages to log',
  placeholder: LOG_LEVELS.join('|'),
  default: 'info',
};

/** `--kubeconfig`, the same in every program. */
export const kubeconfigFlag: Flag<string | undefined> = {
  schema: z.string().min(1, { error: 'give the path of a kubeconfig file' }).optional(),
  description: 'how to reach the API server; absent: the in-cluster service account',
  placeholder: 'path',
  env: 'KUBECONFIG',
};

/**
 * Text scenarios: what a reader would type, and what must come back.
 *
 * A file is a list of blocks parted by blank lines. A block is comment lines (`#`), one command line
 * `verb argument… key=value…`, a line `----`, and the expected output.
 */

/** One command of a scenario. */
export interface Command {
  readonly verb: string;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

/**
 * The scenario's text with the output of `run` in place of the expected one: equal to `text` if all is as expected.
 * @throws Error for a block without a command or without `----`
 */
export function replay(text: string, run: (command: Command) => string): string {
  const blocks = text.trim().split(/\n{2,}/);
  return `${blocks.map((block) => replayBlock(block, run)).join('\n\n')}\n`;
}

function replayBlock(block: string, run: (command: Command) => string): string {
  const lines = block.split('\n');
  const at = lines.findIndex((line) => !line.startsWith('#'));
  const line = lines[at];
  // A block of comments only is a heading.
  if (line === undefined) return block;
  if (lines[at + 1] !== '----') throw new Error(`"${line}" is not followed by a line "----"`);
  return [...lines.slice(0, at + 2), run(parse(line))].join('\n').trimEnd();
}

function parse(line: string): Command {
  const [verb = '', ...words] = line.split(' ').filter((word) => word !== '');
  const options = words.filter((word) => word.includes('='));
  return {
    verb,
    args: words.filter((word) => !word.includes('=')),
    options: Object.fromEntries(
      options.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
    ),
  };
}

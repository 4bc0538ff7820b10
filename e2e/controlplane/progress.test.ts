import { describe, expect, test } from 'vitest';
import { formatElapsed, type ProgressOutput, terminalProgress } from './progress.ts';

function recorder(isTTY: boolean): { output: ProgressOutput; text: () => string } {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  return { output: { isTTY, columns: 80, write }, text: () => text };
}

describe('progress', () => {
  test.each([
    [0, '0 s'],
    [59_400, '59 s'],
    [60_000, '1 min 0 s'],
    [754_000, '12 min 34 s'],
  ])('%d ms are shown as %s', (ms, shown) => {
    expect(formatElapsed(ms)).toBe(shown);
  });

  test('says outside a terminal when a step starts and how it ends, without control characters', () => {
    const { output, text } = recorder(false);
    const progress = terminalProgress(output);
    progress.step('one').done('fine');
    progress.step('two').failed('broken');
    expect(text()).toBe('  … one\n  ✓ one (0 s): fine\n  … two\n  ✗ two (0 s): broken\n');
  });

  test('ends a step once, whatever is said afterwards', () => {
    const { output, text } = recorder(false);
    const step = terminalProgress(output).step('one');
    step.done();
    step.failed('late');
    step.update('later');
    expect(text()).toBe('  … one\n  ✓ one (0 s)\n');
  });

  test('clears its line on a terminal before a step ends', () => {
    const { output, text } = recorder(true);
    terminalProgress(output).step('one').done();
    expect(text()).toBe('\r\u001b[K  ✓ one (0 s)\n');
  });
});

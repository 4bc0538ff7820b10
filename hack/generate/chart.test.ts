import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { type ValuesSchema, valuesFile, valuesReference } from './chart.ts';

const SCHEMA: ValuesSchema = {
  properties: {
    image: {
      properties: {
        tag: { type: 'string', default: '', description: 'Which one.' },
        policy: { enum: ['Always', 'Never'], default: 'Never', description: 'When.' },
      },
    },
    agent: {
      properties: { limits: { type: ['object', 'string'], default: { cpu: '1' }, description: 'How much.' } },
    },
    global: { type: 'object', description: 'Without a default it is no value of ours.' },
  },
};

describe('the chart’s values', () => {
  test('are the defaults of the schema', () => {
    expect(parse(valuesFile(SCHEMA))).toEqual({
      image: { tag: '', policy: 'Never' },
      agent: { limits: { cpu: '1' } },
    });
  });

  test('are each a line of the reference', () => {
    const rows = valuesReference(SCHEMA)
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    expect(rows).toEqual([
      '| `image.tag` | string | `""` | Which one. |',
      '| `image.policy` | `Always`, `Never` | `"Never"` | When. |',
      '| `agent.limits` | object or string | `{"cpu":"1"}` | How much. |',
    ]);
  });
});

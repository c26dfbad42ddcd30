/** Ranks by energy and by the test, of real and of random labels. */

import { figure } from '../../drawing/figure.js'
import { groupedBars } from '../../drawing/grouped-bars.js'
import { colour } from '../../shared/theme.js'

const BARS = {
  energy: (row) => row.rank,
  'energy, random labels': (row) => row['null rank, median'],
  test: (row) => row['permutation rank'],
  'test, random labels': (row) =>
    Math.max(...row['permutation rank, exchanged labels'].split(' ').map(Number)),
}

export function rankBars(ranks, anchor) {
  const fills = () =>
    Object.fromEntries(Object.keys(BARS).map((name, i) => [name, colour(`feature-${[0, 5, 1, 3][i]}`)]))
  const rows = ranks.flatMap((row) =>
    Object.entries(BARS).map(([rule, of]) => ({
      edited: `${row.model}, ${row.contrast}`,
      kind: rule.includes('random') ? 'null' : '',
      rule,
      mean: of(row),
      truth: row['true rank'],
      ...(rule === 'energy, random labels' && { low: row['null rank, least'], high: row['null rank, most'] }),
    })),
  )
  const most = Math.max(...rows.flatMap(({ mean, high = 0, truth }) => [mean, high, truth]))
  return figure({
    id: () => `${anchor}-ranks`,
    title: () => 'Ranks found, against the number of latents',
    caption: () =>
      'Rank of ΔC at 99% of the energy and by the permutation test; paler: the same of random labels, the median of 20 draws with their range, or the most of the exchanged sets. A tick is the true number of latents. In d8 models, 5 + 5 latents do not fit the head. The energy rule answers for random labels as for real ones; the test answers 0.',
    key: () => [
      ...Object.entries(fills()).map(([text, fill]) => ({ text, fill })),
      { text: 'true rank', fill: colour('ink'), shape: 'line' },
    ],
    draw: (width) =>
      groupedBars(width, rows, 'rule', fills(), {
        label: 'rank',
        domain: [0, most],
        tickFormat: 'd',
        ticks: Array.from({ length: most + 1 }, (_, i) => i),
      }),
    rows: () => ranks,
  }).node
}

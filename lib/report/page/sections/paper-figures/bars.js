/** Bars of ranks, of fractions and of explained energy. */

import { figure } from '../../drawing/figure.js'
import { groupedBars } from '../../drawing/grouped-bars.js'
import { colour } from '../../shared/theme.js'
import { slug } from './wording.js'

export function rankBars(ranks, anchor) {
  const fills = () => ({ z1: colour('feature-0'), z2: colour('feature-1') })
  const rows = ranks.map((row) => ({
    ...{ edited: row.model, kind: row.fits ? 'fits' : 'crowded', latent: row.contrast },
    ...{ mean: row.rank, truth: row['true rank'] },
  }))
  return figure({
    id: () => `${anchor}-ranks`,
    title: () => 'Ranks found, against the number of latents',
    caption: () =>
      'Rank of ΔC at 99% of the energy; a tick is the true number of latents. In d8 models, 5 + 5 latents do not fit the head.',
    key: () => [
      ...Object.entries(fills()).map(([text, fill]) => ({ text, fill })),
      { text: 'true rank', fill: colour('ink'), shape: 'line' },
    ],
    draw: (width) => groupedBars(width, rows, 'latent', fills(), { label: 'rank', ...wholeNumbers(ranks) }),
    rows: () => ranks,
  }).node
}

const wholeNumbers = (ranks) => {
  const most = Math.max(...ranks.flatMap((row) => [row.rank, row['true rank']]))
  return { domain: [0, most], ticks: Array.from({ length: most + 1 }, (_, i) => i), tickFormat: 'd' }
}

export function fractionBars(rows, anchor, title, { edited, fields }) {
  const fills = () => Object.fromEntries(fields.map((name, i) => [name, colour(`feature-${i}`)]))
  const bars = rows.flatMap((row) =>
    fields.map((measure) => ({
      ...{ edited: edited(row), kind: /^(random|whole)/.test(row.subspace) ? 'random' : '' },
      ...{ measure, mean: row[measure] },
    })),
  )
  return figure({
    id: () => `${anchor}-${slug(title)}`,
    title: () => title,
    caption: () => 'Fractions, from 0 to 1; variance between clusters is over the total.',
    key: () => Object.entries(fills()).map(([text, fill]) => ({ text, fill })),
    draw: (width) => groupedBars(width, bars, 'measure', fills(), { label: 'fraction', domain: [0, 1] }),
    rows: () => rows,
  }).node
}

export function explainedBars(explained, anchor) {
  const fills = () => ({ 'rows as they are': colour('feature-0'), 'less their mean': colour('feature-1') })
  const several = new Set(explained.map(({ word }) => word)).size > 1
  const bars = explained.map((row) => ({
    edited: several ? `${row.word}: ${row.subspaces}` : row.subspaces,
    kind: /^(random|mean)/.test(row.subspaces) ? 'random' : '',
    rows: row['rows centred'] ? 'less their mean' : 'rows as they are',
    ...{ mean: row.energy, low: row['energy low'], high: row['energy high'] },
  }))
  return figure({
    id: () => `${anchor}-explained`,
    title: () => 'Energy of the scores explained',
    caption: () => 'Of held-out prompts, with 95% intervals; paler bars are controls.',
    key: () => Object.entries(fills()).map(([text, fill]) => ({ text, fill })),
    draw: (width) => groupedBars(width, bars, 'rows', fills(), { label: 'explained', domain: [0, 1] }),
    rows: () => explained,
  }).node
}

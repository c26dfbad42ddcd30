/** The interaction matrices of figure 5, and how much of them lies within blocks. */

import * as Plot from '@observablehq/plot'
import { readableCells } from '../../drawing/cells.js'
import { controlledBars } from '../../drawing/controlled-bars.js'
import { figure, frame } from '../../drawing/figure.js'
import { el, number } from '../../shared/dom.js'
import { colour, diverging } from '../../shared/theme.js'
import { slug } from './wording.js'

/** Beside the same of key latents in random orders. */
export function blockBars(blocks, anchor) {
  const rows = blocks.map((row) => ({
    label: row.model,
    mean: row['within blocks'],
    nullMean: row['permuted mean'],
    nullTop: row['permuted p95'],
    within: row.p > 0.05,
  }))
  return figure({
    id: () => `${anchor}-blocks`,
    title: () => 'Part of G within the blocks',
    caption: () =>
      'Squared entries within the two blocks over all; the band is the same of G with its key latents in random orders, mean to 95th percentile. Of 3 + 3 latents one order in twenty keeps the blocks, so the band reaches the bar.',
    key: () => [
      { text: 'within blocks', fill: colour('accent') },
      { text: 'key latents permuted, mean to 95th percentile', fill: colour('shade') },
    ],
    draw: (width) => controlledBars(width, rows, { label: 'fraction', domain: [0, 1] }),
    rows: () => blocks,
  }).node
}

/** A map a model. */
export function interactionMaps(interaction, anchor) {
  const models = [...new Set(interaction.map(({ model }) => model))]
  const maps = models.map((model) =>
    interactionMap(
      model,
      interaction.filter((row) => row.model === model),
      anchor,
    ),
  )
  return el('div', { class: 'maps' }, maps)
}

/** Below the map, what the cell in focus holds. */
function interactionMap(model, rows, anchor) {
  const latents = [...new Set(rows.map((row) => row['query latent']))]
  const cells = rows.map((row) => ({
    value: row.value,
    query: row['query latent'],
    key: row['key latent'],
    x: latents.indexOf(row['key latent']),
    y: latents.indexOf(row['query latent']),
  }))
  const n = latents.length
  const most = Math.max(...cells.map(({ value }) => Math.abs(value)))
  const border = latents.filter((name) => name.startsWith('z1')).length
  const middles = [
    { name: 'z1', at: border / 2 },
    { name: 'z2', at: (border + n) / 2 },
  ]
  const words = ({ query, key, value }) => `Query ${query}, key ${key}: ${number(value)}`
  const live = el('p', { class: 'live', 'aria-live': 'polite' }, 'Point at a cell, or use arrow keys.')
  const tell = (cell) => {
    live.textContent = words(cell)
  }
  const { node } = figure({
    id: () => `${anchor}-g-${slug(model)}`,
    title: () => `G of ${model}`,
    caption: () => 'Rows: query latents; columns: key latents.',
    key: () => {
      const fill = diverging(most)
      return [-most, 0, most].map((value) => ({ text: number(value, 1), fill: fill(value) }))
    },
    draw: (width) => {
      const fill = diverging(most)
      const side = Math.min(width, 300)
      const label = { fill: colour('ink'), pointerEvents: 'none' }
      const svg = frame({
        width: side,
        height: side,
        marginLeft: 26,
        marginTop: 22,
        marginRight: 4,
        marginBottom: 8,
        x: { domain: [0, n], axis: null },
        y: { domain: [n, 0], axis: null },
        marks: [
          Plot.rect(cells, {
            x1: 'x',
            x2: (c) => c.x + 1,
            y1: 'y',
            y2: (c) => c.y + 1,
            inset: 0.75,
            fill: { value: (c) => fill(c.value), scale: null },
            className: 'cells',
          }),
          Plot.ruleX([border], { stroke: colour('ink'), strokeWidth: 1.5 }),
          Plot.ruleY([border], { stroke: colour('ink'), strokeWidth: 1.5 }),
          Plot.text(middles, { ...label, x: 'at', text: 'name', frameAnchor: 'top', dy: -12 }),
          Plot.text(middles, { ...label, y: 'at', text: 'name', frameAnchor: 'left', dx: -14 }),
        ],
      })
      const rects = [...svg.querySelectorAll('g.cells rect')]
      readableCells(svg, rects, cells.map(words), n)
      rects.forEach((rect, i) => {
        rect.setAttribute('role', 'img')
        for (const event of ['focus', 'mouseenter']) {
          rect.addEventListener(event, () => tell(cells[i]))
        }
      })
      return svg
    },
    rows: () => rows,
  })
  node.querySelector('.plot').after(live)
  return node
}

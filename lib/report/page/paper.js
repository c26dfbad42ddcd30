/** The paper's figures on the bundled models: each claim, whether it held, and a drawing of its tables. */

import { readableCells } from './cells.js'
import { el, menu, number, table } from './dom.js'
import { figure, frame } from './figure.js'
import { groupedBars } from './grouped-bars.js'
import { Plot } from './library.js'
import { scatter } from './scatter.js'
import { report } from './selection.js'
import { REST, stackedScores, stackKey } from './stacked-scores.js'
import { colour, diverging } from './theme.js'

export function paper() {
  return el('section', { id: 'paper', 'aria-labelledby': 'paper-title' }, [
    el('h2', { id: 'paper-title' }, 'The paper’s figures'),
    ...report.papers.map(block),
  ])
}

function block(own, index) {
  const words = `The experiments of ${own.paper} on the toys and the transformer that come with qkspace${own.quick ? ', at quick sizes' : ''}; seed ${own.seed}. Intervals are 95% bootstrap intervals over prompts.`
  const anchor = ({ figure: name }) => `paper-${index + 1}-figure-${name}`
  return el('div', { class: 'document' }, [
    el('h3', {}, own.name),
    el('p', {}, words),
    el(
      'ul',
      { class: 'verdicts' },
      own.figures.map((one) =>
        el('li', {}, el('a', { href: `#${anchor(one)}` }, nameOf(one)), one.held ? ' held' : ' did not hold'),
      ),
    ),
    ...own.figures.map((one) => part(one, anchor(one))),
  ])
}

const nameOf = ({ figure: name }) =>
  name.includes('-') ? `Figures ${name.replace('-', ' and ')}` : `Figure ${name}`

function part(one, anchor) {
  const tables = Object.fromEntries(one.tables.map((own) => [own.name, records(own)]))
  const drawn = (DRAWINGS[one.figure] ?? (() => []))(tables, anchor)
  return el('article', { id: anchor, class: 'document' }, [
    el('h4', {}, `${nameOf(one)}: ${one.title}`),
    el('div', {}, [
      el('p', { class: 'verdict' }, [
        el('b', { class: one.held ? 'held' : 'failed' }, one.held ? 'held' : 'did not hold'),
        ` ${one.claim}`,
      ]),
      el('p', { class: 'absent' }, `${one.why[0].toUpperCase()}${one.why.slice(1)}.`),
    ]),
    ...drawn,
    el('details', { class: 'more' }, [
      el('summary', {}, 'All tables'),
      ...one.tables.map((own) => {
        const caption = `${nameOf(one)}, ${own.name}`
        return el('div', {}, el('h5', {}, own.name), table(tables[own.name].map(forReading), caption))
      }),
    ]),
  ])
}

const records = ({ columns, rows }) =>
  rows.map((row) => Object.fromEntries(columns.map((name, c) => [name, row[c]])))

const forReading = (row) =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'boolean' ? (value ? 'yes' : 'no') : value,
    ]),
  )

/** What is drawn of each figure's tables. */
const DRAWINGS = {
  2: ({ ranks }, anchor) => [rankBars(ranks, anchor)],
  3: ({ points, clusters }, anchor) => [
    clouds(
      points,
      anchor,
      'signs',
      ({ latent, side }) => `${side === 'key' ? 'Keys' : 'Queries'}, ${latent}`,
    ),
    fractionBars(clusters, anchor, 'How well the corners tell rows apart', {
      edited: ({ latent, side }) => `${latent}, ${side === 'key' ? 'keys' : 'queries'}`,
      fields: ['between / total', 'nearest corner right', 'additive in the signs'],
    }),
  ],
  4: ({ swaps }, anchor) => swapFigures(swaps, anchor),
  5: ({ interaction }, anchor) => [interactionMaps(interaction, anchor)],
  '6-7': ({ points, separation, swaps }, anchor) => [
    clouds(points, anchor, 'category', () => 'Keys of held-out words in the joint subspace'),
    fractionBars(separation, anchor, 'How well categories are told apart', {
      edited: ({ subspace, rank }) => `${subspace}, rank ${rank}`,
      fields: ['between / total', 'nearest centroid right'],
    }),
    ...swapFigures(swaps, anchor),
  ],
  '8-9': ({ points, places, swaps }, anchor) => [
    clouds(
      points,
      anchor,
      'place',
      ({ subspace, centred }) => `Keys, ${subspace}, ${plainOrCentred(centred)}`,
    ),
    fractionBars(places, anchor, 'How well the place is told from the key', {
      edited: ({ subspace, centred, rank }) =>
        `${subspace}${centred === null ? '' : `, ${plainOrCentred(centred)}`}, rank ${rank}`,
      fields: ['between / total', 'nearest place right'],
    }),
    ...swapFigures(swaps, anchor),
  ],
  10: ({ scores, explained }, anchor) => [scoreBars(scores, anchor), explainedBars(explained, anchor)],
}

const plainOrCentred = (centred) => (centred ? 'centred' : 'plain')

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, '-')

function rankBars(ranks, anchor) {
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

/** A scatter for each combination of what is neither label nor coordinate, in the order of the table. */
function clouds(points, anchor, labelColumn, titleOf) {
  const groups = new Map()
  for (const { [labelColumn]: label, pc1, pc2, pc3, ...rest } of points) {
    const key = JSON.stringify(rest)
    if (!groups.has(key)) groups.set(key, { rest, points: [] })
    const at = [pc1, pc2, pc3].filter((value) => value !== null)
    groups.get(key).points.push({ at, label: readableLabel(labelColumn, label) })
  }
  const figures = [...groups.values()].map(({ rest, points: own }) =>
    scatter({
      id: () => `${anchor}-points-${slug(titleOf(rest))}`,
      title: () => titleOf(rest),
      caption: () => `Along their first principal components; colour: ${labelColumn}.`,
      cloud: () => ({ points: own }),
      more: () => rest,
    }),
  )
  return el(
    'div',
    { class: 'pair' },
    figures.map(({ node }) => node),
  )
}

/** Places are counted from 0 in the table, and signs are set as such. */
const readableLabel = (column, label) =>
  column === 'place' ? `place ${Number(label) + 1}` : column === 'signs' ? label.replaceAll('-', '−') : label

function fractionBars(rows, anchor, title, { edited, fields }) {
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

const BEFORE = 'no edit'

/** Attention moved, and where it is afterwards; one set of edits at a time where the table has several. */
function swapFigures(swaps, anchor) {
  const setOf = ({ word, centred }) => (word === undefined ? '' : `${word}, ${plainOrCentred(centred)}`)
  const sets = [...new Set(swaps.map(setOf))]
  let chosen = sets[0]
  const rows = () => swaps.filter((row) => setOf(row) === chosen && !row.vacuous)
  const bar = (row, measure, mean, low, high) => ({
    ...{ edited: row.edited, kind: row.kind, measure, mean, low, high },
  })
  const named = (names) => () => Object.fromEntries(names.map((name, i) => [name, colour(`feature-${i}`)]))
  const make = (name, title, caption, names, bars, x) => {
    const fills = named(names)
    const present = () => bars().filter((row) => row.mean !== null)
    if (present().length === 0) return []
    const suffix = () => (chosen === '' ? '' : `, ${chosen}`)
    return [
      figure({
        id: () => `${anchor}-${name}`,
        title: () => `${title}${suffix()}`,
        caption: () => caption,
        key: () =>
          names
            .filter((text) => present().some((row) => row.measure === text))
            .map((text) => ({ text, fill: fills()[text] })),
        draw: (width) => groupedBars(width, present(), 'measure', fills(), x),
        rows,
      }),
    ]
  }
  /** Bars below zero are round-off, or worth their room. */
  const lowest = () => {
    const least = Math.min(...swaps.map((row) => row['moved low'] ?? 0))
    return least < -0.02 ? least : 0
  }
  const before = (measures) =>
    measures.map(([name, value]) => ({ edited: BEFORE, kind: 'before', measure: name, mean: value }))
  const figures = [
    ...make(
      'moved',
      'Attention moved by each swap',
      'The part of the origin’s attention that went to the target, and the part of prompts where the most attended key changed from one to the other. Whiskers are 95% intervals; paler bars are controls.',
      ['moved', 'flipped'],
      () =>
        rows().flatMap((row) => [
          bar(row, 'moved', row.moved, row['moved low'], row['moved high']),
          bar(row, 'flipped', row.flipped, row['flipped low'], row['flipped high']),
        ]),
      { label: 'fraction', domain: [lowest(), 1] },
    ),
    ...make(
      'attention',
      'Attention after each swap',
      'Mean attention of the query on the two keys.',
      ['origin', 'target'],
      () => [
        ...before([
          ['origin', rows()[0]['origin before']],
          ['target', rows()[0]['target before']],
        ]),
        ...rows().flatMap((row) => [
          bar(row, 'origin', row['origin after']),
          bar(row, 'target', row['target after']),
        ]),
      ],
      { label: 'attention', domain: [0, 1] },
    ),
    ...make(
      'output',
      'What the model answers after each swap',
      'Share of prompts where the answer, or what stands at the target, is the likeliest.',
      ['the answer', 'the target’s'],
      () => [
        ...before([['the answer', rows()[0]['answer likeliest before']]]),
        ...rows().flatMap((row) => [
          bar(row, 'the answer', row['answer likeliest after']),
          bar(row, 'the target’s', row['target likeliest after']),
        ]),
      ],
      { label: 'share of prompts', domain: [0, 1] },
    ),
  ]
  const choice = menu(
    'Subspaces of',
    sets.map((value) => ({ value })),
    chosen,
    (value) => {
      chosen = value
      for (const { redraw } of figures) redraw()
    },
  )
  return [
    ...(sets.length > 1 ? [el('div', { class: 'choices' }, choice)] : []),
    ...figures.map(({ node }) => node),
  ]
}

/** A map a model. */
function interactionMaps(interaction, anchor) {
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
    ...{ value: row.value, query: row['query latent'], key: row['key latent'] },
    ...{ x: latents.indexOf(row['key latent']), y: latents.indexOf(row['query latent']) },
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
        ...{ width: side, height: side, marginLeft: 26, marginTop: 22, marginRight: 4, marginBottom: 8 },
        x: { domain: [0, n], axis: null },
        y: { domain: [n, 0], axis: null },
        marks: [
          Plot.rect(cells, {
            ...{ x1: 'x', x2: (c) => c.x + 1, y1: 'y', y2: (c) => c.y + 1, inset: 0.75 },
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
        for (const event of ['focus', 'mouseenter']) rect.addEventListener(event, () => tell(cells[i]))
      })
      return svg
    },
    rows: () => rows,
  })
  node.querySelector('.plot').after(live)
  return node
}

const PARTS = ['order', 'lexical']

function scoreBars(scores, anchor) {
  const words = scores.map(({ token, position }) => token ?? `${position}`)
  const parts = () =>
    scores.flatMap((row, token) => [
      ...PARTS.map((name) => ({ token, part: name, value: row[name] })),
      { token, part: REST, value: row.residual },
    ])
  return figure({
    id: () => `${anchor}-scores`,
    title: () => 'Scores of one prompt, token by token',
    caption: () =>
      'Scaled scores of the last token’s query with every key: parts stacked, negative ones below zero; the line is their sum, the full score.',
    key: () => stackKey(PARTS),
    draw: (width) =>
      stackedScores(
        width,
        parts(),
        scores.map(({ total }) => total),
        words,
        PARTS,
      ),
    rows: () => scores,
  }).node
}

function explainedBars(explained, anchor) {
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

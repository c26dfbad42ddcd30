/** The paper’s figures on the bundled models: each claim, whether it held, and a drawing of its tables. */

import { el, table } from '../shared/dom.js'
import { report } from '../shared/selection.js'
import { explainedBars, fractionBars, rankBars } from './paper-figures/bars.js'
import { clouds } from './paper-figures/clouds.js'
import { interactionMaps } from './paper-figures/interaction.js'
import { scoreBars } from './paper-figures/scores.js'
import { swapFigures } from './paper-figures/swaps.js'
import { plainOrCentred } from './paper-figures/wording.js'

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

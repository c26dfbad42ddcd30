/** The paper’s figures on the bundled models: each claim, its verdict, and its tables drawn beside their nulls. */

import { redrawAll } from '../drawing/figure.js'
import { el, table } from '../shared/dom.js'
import { report } from '../shared/selection.js'
import { controlled } from './paper-figures/beside-nulls.js'
import { candidateBars } from './paper-figures/candidates.js'
import { claimParts, claimTable } from './paper-figures/claims.js'
import { clouds } from './paper-figures/clouds.js'
import { blockBars, interactionMaps } from './paper-figures/interaction.js'
import { rankBars } from './paper-figures/ranks.js'
import { scoreBars } from './paper-figures/scores.js'
import { swapFigures } from './paper-figures/swaps.js'
import { plainOrCentred } from './paper-figures/wording.js'

export function paper() {
  return el('section', { id: 'paper', 'aria-labelledby': 'paper-title' }, [
    el('h2', { id: 'paper-title' }, 'The paper’s figures'),
    ...report.papers.map(report.results.length > 0 ? folded : block),
  ])
}

/** Beside results the paper's figures are a step away: the page is about the reader's own model. */
function folded(own, index) {
  const held = own.figures
    .flatMap(({ further = [], ...first }) => [first, ...further])
    .map(({ verdict }) => verdict)
  const details = el(
    'details',
    { class: 'more' },
    el('summary', {}, `${own.name}: ${counted(held)}`),
    block(own, index),
  )
  details.addEventListener('toggle', redrawAll)
  return details
}

/** How many claims have each verdict. */
function counted(verdicts) {
  const kinds = [...new Set(verdicts)]
  return kinds.map((kind) => `${verdicts.filter((own) => own === kind).length} ${kind}`).join(', ')
}

function block(own, index) {
  const words = `The experiments of ${own.paper} on the toys and the transformer that come with qkspace${own.quick ? ', at quick sizes' : ''}; seed ${own.seed}. A claim held where its figures meet their bars; it is evidence where they are also above the 95th percentile of their nulls. Intervals are 95% bootstrap intervals over prompts.${own.randomLabels ? ' Positives and negatives were exchanged at random: there is nothing to be found.' : ''}`
  const anchor = ({ figure: name }) => `paper-${index + 1}-figure-${name}`
  return el('div', { class: 'document' }, [
    el('h3', {}, own.name),
    el('p', {}, words),
    claimTable(own.figures, anchor, nameOf),
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
      ...claimParts(one),
      ...(one.notes ?? []).map((text) => el('p', { class: 'note' }, [el('b', {}, 'Mind: '), text])),
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

const APART =
  'Between: variance between clusters over the total. Nearest: held-out rows whose nearest centroid is that of their label.'

const sideOf = ({ latent, side }) => `${latent}, ${side === 'key' ? 'keys' : 'queries'}`

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
    controlled(clusters, anchor, {
      title: 'How well the corners tell rows apart',
      words: `${APART} Additive: part of the centroids’ variance that is a sum of one effect a sign.`,
      label: (row) => `${sideOf(row)}: ${SHORT[row.measure]}`,
    }),
  ],
  4: (tables, anchor) => swapFigures(tables, anchor),
  5: ({ interaction, blocks }, anchor) => [interactionMaps(interaction, anchor), blockBars(blocks, anchor)],
  '6-7': ({ points, separation, ...swaps }, anchor) => [
    clouds(points, anchor, 'category', () => 'Keys of held-out words in the joint subspace'),
    controlled(separation, anchor, {
      title: 'How well categories are told apart',
      words: APART,
      label: (row) => `${row.subspace}: ${SHORT[row.measure]}`,
    }),
    ...swapFigures(swaps, anchor),
  ],
  '8-9': ({ points, places, ...swaps }, anchor) => [
    clouds(
      points,
      anchor,
      'place',
      ({ subspace, centred }) => `Keys, ${subspace}, ${plainOrCentred(centred)}`,
    ),
    controlled(places, anchor, {
      title: 'How well the place is told from the key',
      words: APART,
      label: ({ subspace, centred, measure }) =>
        `${subspace}${centred === null ? '' : `, ${plainOrCentred(centred)}`}: ${SHORT[measure]}`,
    }),
    ...swapFigures(swaps, anchor),
  ],
  10: ({ scores, candidates, explained }, anchor) => [
    scoreBars(scores, anchor),
    candidateBars(candidates, anchor),
    explainedOf(explained, anchor),
  ],
}

/** Labels that fit beside bars. */
const SHORT = {
  'between / total': 'between',
  'nearest corner right': 'nearest',
  'nearest centroid right': 'nearest',
  'nearest place right': 'nearest',
  'additive in the signs': 'additive',
  'all keys': 'all keys',
  'all keys, less their mean': 'all keys less mean',
  'candidate boxes, less their mean': 'boxes less mean',
}

function explainedOf(explained, anchor) {
  const several = new Set(explained.map(({ word }) => word)).size > 1
  return controlled(
    explained.filter(({ figure }) => figure === 'energy'),
    anchor,
    {
      title: 'Energy of the scores explained',
      words: '1 less the energy of the rest over that of the scores, of held-out prompts.',
      label: ({ word, covariances, rows }) => `${several ? `${word}, ` : ''}${covariances}: ${SHORT[rows]}`,
    },
  )
}

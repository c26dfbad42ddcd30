/** What swaps of keys moved, for the paper’s figures 4, 7 and 9. */

import { controlKey, controlledBars } from '../../drawing/controlled-bars.js'
import { figure } from '../../drawing/figure.js'
import { groupedBars } from '../../drawing/grouped-bars.js'
import { el, menu } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { besideNulls } from './beside-nulls.js'
import { plainOrCentred } from './wording.js'

const BEFORE = 'no edit'

/** Attention moved, and where it is afterwards; one set of edits at a time where the table has several. */
export function swapFigures({ swaps, effects }, anchor) {
  const setOf = ({ word, centred }) => (word === undefined ? '' : `${word}, ${plainOrCentred(centred)}`)
  const sets = [...new Set(swaps.map(setOf))]
  let chosen = sets[0]
  const rows = () => swaps.filter((row) => setOf(row) === chosen && !row.vacuous)
  const bar = (row, measure, mean, low, high) => ({
    edited: row.edited,
    kind: row.kind,
    measure,
    mean,
    low,
    high,
  })
  const named = (names) => () => Object.fromEntries(names.map((name, i) => [name, colour(`feature-${i}`)]))
  const make = (name, title, caption, names, bars, x) => {
    const fills = named(names)
    const present = () => bars().filter((row) => row.mean !== null)
    if (present().length === 0) {
      return []
    }
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
  const before = (measures) =>
    measures.map(([name, value]) => ({ edited: BEFORE, kind: 'before', measure: name, mean: value }))
  const figures = [
    moved(effects, () => chosen, setOf, anchor),
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
      for (const { redraw } of figures) {
        redraw()
      }
    },
  )
  return [
    ...(sets.length > 1 ? [el('div', { class: 'choices' }, choice)] : []),
    ...figures.map(({ node }) => node),
  ]
}

const SHOWN = ['moved', 'flipped', 'answer lost']

/** What each swap did, beside the same swap in its controls. */
function moved(effects, chosen, setOf, anchor) {
  const own = () => effects.filter((row) => setOf(row) === chosen() && SHOWN.includes(row.effect))
  const rows = () => own().map((row) => besideNulls(row, `${shortened(row.edited)}: ${row.effect}`))
  return figure({
    id: () => `${anchor}-moved`,
    title: () => `What each swap did${chosen() === '' ? '' : `, ${chosen()}`}`,
    caption: () =>
      'Moved: the part of the origin’s attention that went to the target; flipped: the part of prompts where the most attended key changed from one to the other; answer lost: how many fewer prompts are answered right. Whiskers are 95% intervals. A swap within its null subspaces is no evidence for its labels.',
    key: () => controlKey('swaps', rows()),
    draw: (width) => controlledBars(width, rows(), { label: 'fraction', domain: [0, 1] }),
    rows: own,
  })
}

/** Unions of many subspaces by their number. */
function shortened(name) {
  const { length } = name.split(' + ')
  return length > 4 ? `${length} joined` : name
}

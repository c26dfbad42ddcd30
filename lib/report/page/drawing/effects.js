/** What edits in features did, one row a feature, beside the same edits in null subspaces, other controls and whole keys. */

import { controlOf } from '../../finding/edit-figures.ts'
import { capital, percent } from '../shared/dom.js'
import { selection } from '../shared/selection.js'
import { controlKey, controlledBars } from './controlled-bars.js'
import { figure } from './figure.js'

/** Measures of attention: `[key, name, figure, words]`. */
const MOVES = [
  [
    'moved',
    'attention moved',
    (move) => move.moved,
    'Part of the origin’s attention that went to the target.',
  ],
  [
    'flipRate',
    'flipped',
    (move) => move.flipRate,
    'Share of terms where the most attended key was the origin and became the target.',
  ],
]

/** Of prompts without a target. */
const LOSS = [
  [
    'origin',
    'change on the origin',
    ({ origin }) => ({ mean: Math.abs(origin.after.mean - origin.before.mean) }),
    'How much the mean attention on the origin changed.',
  ],
]

const fractions = { domain: [0, 1], tickFormat: '.0%' }

/** A figure a measure, one row a feature: attention moved in the selected head, and flips. */
export function effects(own, index) {
  const of = (v) => v.heads[selection.head]
  const [some] = own.heads
  const measures = own.variants.some((v) => v.heads[some]?.flipRate) ? MOVES : LOSS
  const still = () => own.variants.filter((v) => v.kind === 'features' && of(v)?.moved === null)
  return measures.map((measure) => {
    const [key, name, , words] = measure
    const rows = () => rowsOf(own, of, [measure])
    const nothing = () =>
      still().map(
        (v) => ` Nothing to move for ${v.name}: the origin has ${percent(of(v).origin.before.mean)}.`,
      )
    return figure({
      id: () => `${key === 'moved' ? 'effects' : key}-${index + 1}-${selection.head}`,
      title: () => `${capital(name)} in ${selection.head} by each edit`,
      caption: () => `${words}${key === 'moved' ? nothing().join('') : ''}`,
      key: () => controlKey('features', rows()),
      draw: (width) =>
        rows().length === 0
          ? 'No feature was measured on these prompts.'
          : controlledBars(width, rows(), {
              ...fractions,
              label: key === 'origin' ? 'attention' : 'fraction',
            }),
      rows,
      height: 160,
    })
  })
}

const OUTPUTS = [
  {
    name: 'answers',
    title: 'What edits do to the answer',
    caption:
      'How much the share of terms changed where the answer, or the token at the target, is the model’s likeliest next token.',
    measures: [
      ['accuracy', 'answer given', ({ accuracy }) => changeOf(accuracy)],
      ['targetRate', 'target’s token', ({ targetRate }) => changeOf(targetRate)],
    ],
    axis: { ...fractions, label: 'change of the share' },
    // Where neither is ever the likeliest token, no answer was given that an edit could change.
    isThere: (variants) =>
      variants.some(({ output }) =>
        [output.accuracy, output.targetRate].some(
          (own) => own && (own.before.mean > 0 || own.after.mean > 0),
        ),
      ),
  },
  {
    name: 'kl',
    title: 'How far edits move the output',
    caption: 'KL divergence of the next token’s distribution after the edit from that before, in nats.',
    measures: [['kl', '', ({ kl }) => kl]],
    axis: { label: 'KL, nats' },
    isThere: () => true,
  },
]

const changeOf = (own) => own && { mean: Math.abs(own.after.mean - own.before.mean) }

/** How far the output moved: answers where any was given, and the divergence. */
export function outputEffects(own, index) {
  const variants = own.variants.filter((v) => v.output)
  if (variants.length === 0) {
    return []
  }
  return OUTPUTS.filter(({ isThere }) => isThere(variants)).map(
    ({ name, title, caption, measures, axis }) => {
      const rows = () => rowsOf(own, (v) => v.output, measures)
      return figure({
        id: () => `${name}-${index + 1}`,
        title: () => title,
        caption: () => caption,
        key: () => controlKey('features', rows()),
        draw: (width) =>
          rows().length === 0
            ? 'No feature was measured on these prompts.'
            : controlledBars(width, rows(), axis),
        rows,
      })
    },
  )
}

/** A row a measure and feature. */
function rowsOf(own, of, measures) {
  const several = measures.length > 1
  return measures.flatMap(([key, name, figureOf]) =>
    own.variants
      .filter((v) => v.kind === 'features' && of(v))
      .flatMap((v) => {
        const value = figureOf(of(v))
        if (!value) {
          return []
        }
        const beside = (kind) => {
          const other = controlOf(own, v, kind)
          return (other && of(other) && figureOf(of(other))?.mean) ?? null
        }
        const nulls = controlOf(own, v, 'null')
        return [
          {
            label: several ? `${v.name}: ${name}` : v.name,
            edited: v.name,
            measure: name || key,
            terms: v.terms,
            ...value,
            nullMean: beside('null'),
            nullTop: (nulls && of(nulls)?.p95?.[key]) ?? null,
            keys: beside('keys'),
            meanQuery: beside('mean query'),
            random: beside('random'),
            whole: beside('whole'),
            within: of(v).exceedsNull?.[key] === false,
          },
        ]
      }),
  )
}

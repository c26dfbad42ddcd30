/** What edits in the subspaces did to attention and output, beside their controls. */

import { effects, outputEffects } from '../drawing/effects.js'
import { figure } from '../drawing/figure.js'
import { groupedBars } from '../drawing/grouped-bars.js'
import { absent, el, menu, plural } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'
import { colour } from '../shared/theme.js'

const BEFORE = 'no edit'

export function interventions() {
  const section = el('section', { id: 'interventions', 'aria-labelledby': 'interventions-title' })
  const heading = el('h2', { id: 'interventions-title' }, 'Interventions')
  if (report.interventions.length === 0) {
    const hint = 'qkspace intervene … --out I.json, then qkspace report … --interventions I.json'
    section.append(heading, absent('No intervention was given. To see here what edits do:', hint))
    return section
  }
  section.append(heading, ...report.interventions.map((own, i) => block(own, i)))
  return section
}

function block(own, index) {
  let head = own.heads.includes(selection.head) ? selection.head : own.heads[0]
  const figures = [attention(own, () => head, index), effects(own, () => head, index), ...outputs(own, index)]
  const choose = (name) => {
    head = name
    figures[0].redraw()
    figures[1].redraw()
  }
  const choice = menu(
    'Head',
    own.heads.map((value) => ({ value })),
    head,
    choose,
  )
  onSelect(({ head: name }) => {
    if (!own.heads.includes(name)) return
    choice.querySelector('select').value = name
    choose(name)
  })
  const several =
    own.heads.length > 1 ? `${own.heads.length} heads edited together` : `${own.heads[0]} edited`
  return el('div', { class: 'document' }, [
    el('h3', {}, `${titles[own.edit] ?? own.edit} of ${own.side === 'key' ? 'keys' : 'queries'}, ${several}`),
    el(
      'p',
      {},
      `${own.name}: ${plural(own.terms, 'term')} of ${plural(own.prompts.prompts, 'prompt')}, seed ${own.seed}. ` +
        'Whiskers are 95% bootstrap intervals over prompts. Paler bars of attention and answers are controls: null subspaces of exchanged prompts, key principal components, random subspaces, all of the same rank, the mean query, and all but the subspace.' +
        (own.noNull ? ` ${own.noNull[0].toUpperCase()}${own.noNull.slice(1)}.` : ''),
    ),
    own.heads.length > 1 ? el('div', { class: 'choices' }, choice) : undefined,
    el(
      'div',
      { class: 'document' },
      figures.map(({ node }) => node),
    ),
  ])
}

const titles = { swap: 'Swap', patch: 'Patch', ablate: 'Ablation', scale: 'Scaling' }

const measured = (own) => own.variants.filter((v) => !v.vacuous && Object.keys(v.heads).length > 0)

/** One row a variant and key; the state before the edit comes first. */
function attentionRows(own, head) {
  const variants = measured(own)
  const keys = ['origin', 'target'].filter((key) => variants[0]?.heads[head]?.[key])
  const row = (edited, kind, rank, key, value) => ({ edited, kind, rank, head, key, ...value })
  return [
    ...beforeOf(variants).flatMap(([name, v]) =>
      keys.map((key) => row(name, 'before', '', key, v.heads[head][key].before)),
    ),
    ...variants.flatMap((v) =>
      keys.map((key) => row(v.name, v.kind, v.ranks[head], key, v.heads[head][key].after)),
    ),
  ]
}

/** The state before edits differs where features are edited on terms of their own: one variant of each choice of terms. */
function beforeOf(variants) {
  const features = variants.filter((v) => v.kind === 'features')
  const byTerms = new Map(features.map((v) => [v.contrasts.join(' + '), v]))
  if (byTerms.size < 2) return [[BEFORE, features[0] ?? variants[0]]]
  return [...byTerms].map(([terms, v]) => [`${BEFORE}, terms of ${terms}`, v])
}

function attention(own, head, index) {
  const fills = () => ({ origin: colour('feature-0'), target: colour('feature-1') })
  return figure({
    id: () => `attention-${index + 1}-${head()}`,
    title: () => `Attention of ${head()} after each edit`,
    caption: () => `Mean attention, from 0 to 1, of the term’s query on ${keysInWords(own, head())}.`,
    key: () =>
      [...new Set(attentionRows(own, head()).map((r) => r.key))].map((key) => ({
        text: key,
        fill: fills()[key],
      })),
    draw: (width) =>
      groupedBars(width, attentionRows(own, head()), 'key', fills(), { label: 'attention', domain: [0, 1] }),
    rows: () => attentionRows(own, head()),
  })
}

function keysInWords(own, head) {
  const origin = 'the origin, the key that carries the feature'
  if (!attentionRows(own, head).some((r) => r.key === 'target')) return origin
  const target = own.edit === 'swap' ? 'the key that it was exchanged with' : 'one that lacks it'
  return `${origin}, and on the target, ${target}`
}

function outputs(own, index) {
  const variants = measured(own).filter((v) => v.output)
  if (variants.length === 0) return []
  const rates = ['accuracy', 'targetRate'].filter((key) => variants[0].output[key])
  const words = { accuracy: 'the answer', targetRate: 'the target’s token' }
  const fills = () => ({ 'the answer': colour('feature-0'), 'the target’s token': colour('feature-1') })
  const row = (v, key, value) => ({ edited: v.name, kind: v.kind, likeliest: words[key], ...value })
  const rateRows = () => [
    ...beforeOf(variants).flatMap(([name, v]) =>
      rates.map((key) => row({ name, kind: 'before' }, key, v.output[key].before)),
    ),
    ...variants.flatMap((v) => rates.map((key) => row(v, key, v.output[key].after))),
  ]
  const never = () => rateRows().every(({ mean }) => mean === 0)
  const either = rates.map((key) => words[key]).join(' or ')
  const list = [outputEffects(own, index)]
  if (rates.length > 0) {
    list.unshift(
      figure({
        id: () => `output-${index + 1}`,
        title: () => 'What the model answers after each edit',
        caption: () =>
          'Share of terms where the answer, or the token at the target, is the model’s likeliest next token.',
        key: () => (never() ? [] : rates.map((key) => ({ text: words[key], fill: fills()[words[key]] }))),
        draw: (width) =>
          never()
            ? `Nothing moved: no term has ${either} as the likeliest next token, before or after any edit.`
            : groupedBars(width, rateRows(), 'likeliest', fills(), {
                label: 'share of terms',
                domain: [0, 1],
              }),
        rows: rateRows,
      }),
    )
  }
  return list
}

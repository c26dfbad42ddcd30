/** The opening: what the selected head does, how sure that is, what the controls do; one prompt beside it. */

import { findingOf, keyNames } from '../../finding/finding.ts'
import { markedKey, markedKeys } from '../drawing/attention/marked-keys.js'
import { controlKey, controlledBars } from '../drawing/controlled-bars.js'
import { figure } from '../drawing/figure.js'
import { markLegend, marksOf, readable, tokenText } from '../drawing/tokens.js'
import { decomposeCommand, explainCommand, interveneCommand } from '../shared/commands.js'
import { absent, capital, el, percent } from '../shared/dom.js'
import { headOf, storedPrompts, swapOf, termOf } from '../shared/explained.js'
import { onSelect, report, selected, selection } from '../shared/selection.js'
import { sequential } from '../shared/theme.js'

const BADGES = {
  replicated: 'Significant, replicated',
  discovered: 'Significant, not replicated',
  unresolved: 'Unresolved',
  'not significant': 'Not significant',
  untested: 'Not tested',
}

const isDiscovery = (standing) => standing === 'replicated' || standing === 'discovered'

export const present = () => {
  const { result, head, contrast } = selection
  return findingOf(result, report.interventions, head, contrast)
}

export function finding() {
  const words = el('div', { class: 'finding-words', 'aria-live': 'polite' })
  const picture = el('div', { class: 'finding-picture' })
  const evidence = evidenceFigure()
  const keys = keysFigure()
  const fill = () => {
    const own = present()
    words.replaceChildren(
      el('p', { class: `badge ${isDiscovery(own.standing) ? own.standing : 'none'}` }, BADGES[own.standing]),
      el('p', { class: 'headline' }, own.sentences[0]),
      ...own.sentences.slice(1).map((text) => el('p', {}, text)),
      ...missing(own),
    )
    picture.replaceChildren(...pictureOf(keys))
    evidence.node.hidden = !own.edits?.moved
    for (const { redraw } of [evidence, keys]) {
      redraw()
    }
  }
  onSelect(fill)
  fill()
  redrawn.push(() => picture.replaceChildren(...pictureOf(keys)))
  return el('section', { id: 'finding', 'aria-labelledby': 'finding-title' }, [
    el('h2', { id: 'finding-title', class: 'hidden' }, 'The finding'),
    el('div', { class: 'finding' }, [el('div', {}, words, evidence.node), picture]),
  ])
}

const redrawn = []

/** The shades of tokens follow the scheme. */
export function reshadeFinding() {
  for (const again of redrawn) {
    again()
  }
}

/** What would make the finding surer. */
function missing({ standing, edits }) {
  if (standing === 'untested') {
    return [absent('To test it:', decomposeCommand('--rank permutation:0.05'))]
  }
  if (!isDiscovery(standing) || edits) {
    return []
  }
  return [
    absent('What its dimensions do to the attention was not measured. To measure it:', interveneCommand()),
  ]
}

/** The one figure that decides: attention moved, beside what every control moves. */
function evidenceFigure() {
  const rows = () => {
    const moved = present().edits?.moved
    if (!moved) {
      return []
    }
    const { value, low, high, ...beside } = moved
    const control = (label, mean) => (typeof mean === 'number' ? [{ label, mean, isControl: true }] : [])
    return [
      {
        label: `“${selection.contrast}”, ${present().edits.rank} dimensions`,
        mean: value,
        low,
        high,
        nullMean: beside.nullMean,
        nullTop: beside.nullP95,
        within: beside.exceedsNull === false,
      },
      ...control('random labels (null)', beside.nullMean).map((row) => ({
        ...row,
        nullMean: beside.nullMean,
        nullTop: beside.nullP95,
      })),
      ...control('key components', beside.keys),
      ...control('random dimensions', beside.random),
      ...control('mean query', beside.meanQuery),
      ...control('whole keys', beside.whole),
    ]
  }
  return figure({
    id: () => `evidence-${selection.head}-${selection.contrast.replace(/\W+/g, '-')}`,
    title: () => 'Attention moved, beside the controls',
    caption: () =>
      'Part of the attention that went to the other key. The band of the null runs from its mean to its 95th percentile.',
    key: () => controlKey('the feature', rows().slice(0, 1), 'control'),
    draw: (width) =>
      rows().length === 0
        ? 'Not measured.'
        : controlledBars(width, rows(), { domain: [0, 1], tickFormat: '.0%', label: 'attention moved' }),
    rows,
    height: 230,
  })
}

/** The first stored prompt, with its keys marked, or what would store one. */
function pictureOf(keys) {
  const [prompt] = storedPrompts()
  const own = headOf(prompt)
  if (!own) {
    return [absent('No prompt is stored with the attention of this head. To see one:', explainCommand())]
  }
  const { words, query } = prompt
  const term = termOf(prompt)
  const shade = sequential(1)
  const swap = swapOf(own)
  const names = keyNames(selection.result, selection.contrast)
  return [
    el('h3', {}, `One prompt, seen by ${selection.head}`),
    tokenText({
      words,
      marks: marksOf(term, query, words.length),
      shade: (i) => (own.attention[i] >= 0.005 ? shade(own.attention[i]) : undefined),
      describe: (i) => describe(own, swap, words, i),
      hint: 'The darker a token, the more attention it gets. Point at one, or use arrow keys, to read its numbers.',
    }),
    markLegend(
      term
        ? { positive: capital(names.positive), negative: term.negative.length > 0 && capital(names.negative) }
        : {},
    ),
    keys.node,
  ]
}

function describe({ attention, scores }, swap, words, i) {
  const score =
    scores.length === 0
      ? 'score not stored'
      : scores[i] === null
        ? 'masked'
        : `score ${scores[i].toFixed(2).replace('-', '−')}`
  const edit = swap
    ? `, after the edit ${percent(swap.after[i])}${swap.nulls ? `, in null subspaces ${percent(swap.nulls.mean[i])}` : ''}`
    : ''
  return `Token ${i}, “${readable(words[i])}”: attention ${percent(attention[i])}${edit}, ${score}.`
}

/** Rows of the marked keys of the first stored prompt. */
function keyRows() {
  const [prompt] = storedPrompts()
  const own = headOf(prompt)
  if (!own) {
    return []
  }
  const term = termOf(prompt)
  const swap = swapOf(own)
  const marked = term
    ? [...term.positive.map((i) => [i, 'positive']), ...term.negative.map((i) => [i, 'negative'])]
    : [[own.key, 'most attention']]
  const shown = marked.filter(([i]) => i < prompt.words.length).slice(0, 8)
  const row = (label, role, of) => ({
    label,
    role,
    before: of(own.attention),
    after: swap ? of(swap.after) : null,
    nullAfter: swap?.nulls ? of(swap.nulls.mean) : null,
  })
  const positions = new Set(shown.map(([i]) => i))
  return [
    ...shown.map(([i, role]) =>
      row(
        `${readable(prompt.words[i]).trim()} (${i})${role === 'positive' ? ' +' : ''}`,
        role,
        (list) => list[i],
      ),
    ),
    row('all others', 'other', (list) => list.reduce((sum, x, i) => (positions.has(i) ? sum : sum + x), 0)),
  ]
}

function keysFigure() {
  const swap = () => swapOf(headOf(storedPrompts()[0]))
  return figure({
    id: () => `prompt-${selection.head}-${selection.contrast.replace(/\W+/g, '-')}`,
    title: () => `Attention of ${selection.head} on the marked keys of this prompt`,
    caption: () => {
      if (!swap()) {
        return 'The key with + carries the feature. No edit of this feature in this head is stored.'
      }
      const { words } = storedPrompts()[0]
      const { origin, target } = swap()
      const name = (i) => `“${readable(words[i]).trim()}” (${i})`
      return `The key with + carries the feature. The edit exchanges the feature’s ${selected().rank} dimensions of the keys ${name(origin)} and ${name(target)}.`
    },
    key: () => markedKey(Boolean(swap()), Boolean(swap()?.nulls)),
    draw: (width) => {
      const rows = keyRows()
      return rows.length === 0 ? 'No prompt is stored.' : markedKeys(width, rows)
    },
    rows: keyRows,
    height: 200,
  })
}

/** Attention itself: stored prompts, token by token, before and after the feature's edit; whole patterns of discovered heads. */

import { keyNames } from '../../finding/finding.ts'
import { patternGrid } from '../drawing/attention/pattern-grid.js'
import { attentionProfile, tokenNumbers } from '../drawing/attention/profile.js'
import { figure } from '../drawing/figure.js'
import { markLegend, marksOf, readable, tokenText } from '../drawing/tokens.js'
import { explainCommand } from '../shared/commands.js'
import { absent, capital, el, menu } from '../shared/dom.js'
import { headOf, storedPrompts, swapOf, termOf } from '../shared/explained.js'
import { onSelect, report, selection } from '../shared/selection.js'
import { colour, sequential } from '../shared/theme.js'

/** What is looked at: a stored prompt, and the query whose row is shown. */
const state = { prompt: 0, query: undefined, token: undefined }

const prompts = () => storedPrompts()
const prompt = () => prompts()[Math.min(state.prompt, prompts().length - 1)]
const own = () => headOf(prompt())
const queryShown = () => state.query ?? prompt().query
const isStoredQuery = () => queryShown() === prompt().query

export function attention() {
  const section = el('section', { id: 'attention', 'aria-labelledby': 'attention-title' })
  const heading = el('h2', { id: 'attention-title' }, 'Attention')
  if (report.explanations.length === 0) {
    section.append(
      heading,
      absent(
        'No attention is stored. To see it here:',
        `${explainCommand()}, then qkspace report … --explanation explanation.json`,
      ),
    )
    return section
  }
  const choices = el('div', { class: 'choices' })
  const text = el('div', {})
  const figures = el('div', { class: 'document' })
  const [profile, grid] = [profileFigure(text), gridFigure(() => refresh())]
  const refresh = () => {
    choices.replaceChildren(promptMenu(refresh))
    if (!own()) {
      text.replaceChildren(
        absent(`The attention of ${selection.head} is not stored. To store it:`, explainCommand()),
      )
      figures.replaceChildren()
      return
    }
    text.replaceChildren(...strip(profile))
    figures.replaceChildren(profile.node, grid.node)
    for (const { redraw } of [profile, grid]) redraw()
  }
  onSelect((change) => {
    if (change.result || change.contrast) Object.assign(state, { prompt: 0 })
    Object.assign(state, { query: undefined, token: undefined })
    refresh()
  })
  refresh()
  reshades.push(refresh)
  section.append(
    heading,
    el(
      'p',
      {},
      'What a head attends to from one token, on prompts that are stored with their attention. An edit exchanges the feature’s dimensions of two keys, for this query only; beside it stands the same edit in null subspaces.',
    ),
    choices,
    text,
    figures,
  )
  return section
}

const reshades = []

/** The shades of tokens follow the scheme. */
export function reshadeAttention() {
  for (const again of reshades) again()
}

function promptMenu(refresh) {
  const opening = ({ words }) => {
    const all = words.map(readable).join(' ').replace(/\s+/g, ' ').trim()
    return all.length > 60 ? `${all.slice(0, 58)} …` : all
  }
  return menu(
    'Prompt',
    prompts().map((one, i) => ({ value: `${i}`, text: `${i + 1}: ${opening(one)}` })),
    `${Math.min(state.prompt, prompts().length - 1)}`,
    (value) => {
      Object.assign(state, { prompt: Number(value), query: undefined, token: undefined })
      refresh()
      document.querySelector('#attention .choices select')?.focus()
    },
  )
}

/** The row that is shown, with what is known of it. */
function shown() {
  const { words } = prompt()
  const query = queryShown()
  const term = termOf(prompt())
  const marks = marksOf(isStoredQuery() ? term : undefined, query, words.length)
  if (!isStoredQuery()) {
    return { words, query, marks, attention: words.map((_, i) => own().pattern[query]?.[i] ?? 0) }
  }
  const swap = swapOf(own())
  const feature = own().features?.find(({ contrast }) => contrast === selection.contrast)
  return {
    ...{ words, query, marks, attention: own().attention },
    ...(own().scores.length > 0 && { scores: own().scores }),
    ...(swap && { after: swap.after, nullAfter: swap.nulls?.mean }),
    ...(feature && { part: feature.part }),
  }
}

function strip(profile) {
  const row = shown()
  const fill = sequential(1)
  const names = keyNames(selection.result, selection.contrast)
  const term = isStoredQuery() && termOf(prompt())
  return [
    tokenText({
      words: row.words,
      marks: row.marks,
      shade: (i) => (row.attention[i] >= 0.005 ? fill(row.attention[i]) : undefined),
      describe: (i) => tokenNumbers(row, i),
      current: row.query,
      show: (i) => {
        state.token = i
        mark(profile.node)
      },
    }),
    markLegend(
      term
        ? { positive: capital(names.positive), negative: term.negative.length > 0 && capital(names.negative) }
        : {},
    ),
  ]
}

function mark(node) {
  for (const rect of node.querySelectorAll('g.hits rect')) {
    rect.setAttribute('fill-opacity', Number(rect.dataset.token) === state.token ? '0.12' : '0')
  }
}

const slug = () => `${selection.head}-${selection.contrast.replace(/\W+/g, '-')}`

function profileFigure(text) {
  return figure({
    id: () => `profile-${slug()}`,
    title: () =>
      `Attention of ${selection.head} from “${readable(prompt().words[queryShown()]).trim()}” (token ${queryShown()})`,
    caption: () => {
      const swap = isStoredQuery() && swapOf(own())
      const edit = swap
        ? ` The edit exchanges the dimensions of “${selection.contrast}” between tokens ${swap.origin} and ${swap.target}.`
        : isStoredQuery()
          ? ` No edit of “${selection.contrast}” in ${selection.head} is stored.`
          : ' Scores and edits are stored for the explained query only.'
      return `Arcs and bars: attention; below them the scores that enter the softmax.${edit}`
    },
    key: () => {
      const { after, nullAfter, marks } = shown()
      return [
        ...(marks.includes('positive') ? [{ text: 'positive key (+)', fill: colour('feature-0') }] : []),
        ...(marks.includes('negative') ? [{ text: 'negative key (−)', fill: colour('feature-1') }] : []),
        { text: 'other tokens', fill: colour('rest') },
        ...(after ? [{ text: 'after the edit', fill: colour('accent'), shape: 'dot' }] : []),
        ...(nullAfter
          ? [
              {
                text: 'after it in null subspaces (mean)',
                fill: colour('ink'),
                shape: 'diamond',
                hollow: true,
              },
            ]
          : []),
      ]
    },
    draw: (width) => attentionProfile(width, shown()),
    rows: () => {
      const { words, attention, after, nullAfter, scores, part, marks } = shown()
      return words.map((word, i) => ({
        token: i,
        word,
        mark: marks[i] ?? '',
        attention: attention[i],
        ...(after && { afterEdit: after[i] }),
        ...(nullAfter && { afterNullEdit: nullAfter[i] }),
        ...(scores && { score: scores[i] ?? '' }),
        ...(part && { partOfFeature: part[i] ?? '' }),
      }))
    },
    after: (plot) => {
      for (const rect of plot.querySelectorAll('g.hits rect')) {
        const tell = () =>
          text.querySelector(`[data-token="${rect.dataset.token}"]`)?.dispatchEvent(new Event('mouseenter'))
        rect.addEventListener('mouseenter', tell)
      }
      mark(plot)
    },
    height: 420,
  })
}

function gridFigure(refresh) {
  const live = el(
    'p',
    { class: 'live', 'aria-live': 'polite' },
    'Point at a cell, or move through them with arrow keys; a click or Enter shows its row above.',
  )
  const made = figure({
    id: () => `pattern-${slug()}`,
    title: () => `Whole pattern of ${selection.head}`,
    caption: () =>
      'Queries down, keys across; the darker, the more attention (shaded by its square root). The frame is the row shown above.',
    draw: (width) =>
      own()?.pattern
        ? patternGrid(width, {
            words: prompt().words,
            pattern: own().pattern,
            query: queryShown(),
            choose: (query) => {
              state.query = query === prompt().query ? undefined : query
              refresh()
            },
            tell: (said) => {
              live.textContent = said
            },
          })
        : `Only the row of the explained query is stored of ${selection.head}. To store the whole pattern: ${explainCommand()}`,
    rows: () =>
      (own()?.pattern ?? []).flatMap((row, query) =>
        row.map((value, key) => ({ query, key, attention: value })),
      ),
    height: 420,
  })
  made.node.querySelector('.plot').after(live)
  return made
}

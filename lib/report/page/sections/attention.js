/** Attention itself: stored prompts, token by token, before and after the feature's edit; whole patterns of discovered heads. */

import { keyNames } from '../../finding/finding.ts'
import { patternGrid } from '../drawing/attention/pattern-grid.js'
import { attentionProfile, tokenNumbers } from '../drawing/attention/profile.js'
import { topHeads } from '../drawing/attention/top-heads.js'
import { controlKey, controlledBars } from '../drawing/controlled-bars.js'
import { figure } from '../drawing/figure.js'
import { markLegend, marksOf, readable, tokenText } from '../drawing/tokens.js'
import { explainCommand } from '../shared/commands.js'
import { absent, capital, el, menu, number } from '../shared/dom.js'
import { headOf, storedPrompts, swapOf, termOf } from '../shared/explained.js'
import { onSelect, report, select, selection } from '../shared/selection.js'
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
  const [heads, profile, parts, grid] = [
    headsFigure(),
    profileFigure(text),
    partsFigure(),
    gridFigure(() => refresh()),
  ]
  const refresh = () => {
    choices.replaceChildren(promptMenu(refresh))
    if (!own()) {
      text.replaceChildren(
        absent(`The attention of ${selection.head} is not stored. To store it:`, explainCommand()),
      )
      figures.replaceChildren(heads.node)
      heads.redraw()
      return
    }
    text.replaceChildren(...strip(profile))
    const shownFigures = [profile, ...(own().features ? [parts] : []), heads, grid]
    figures.replaceChildren(...shownFigures.map(({ node }) => node))
    for (const { redraw } of shownFigures) {
      redraw()
    }
  }
  onSelect((change) => {
    if (change.result || change.contrast) {
      Object.assign(state, { prompt: 0 })
    }
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
      [
        'What a head attends to from one token, on prompts that are stored with their attention.',
        ...(report.results.length > 0 ? [EDITED] : []),
      ].join(' '),
    ),
    choices,
    text,
    figures,
  )
  return section
}

const EDITED =
  'An edit exchanges the feature’s dimensions of two keys, for this query only; beside it stands the same edit in null subspaces.'

const reshades = []

/** The shades of tokens follow the scheme. */
export function reshadeAttention() {
  for (const again of reshades) {
    again()
  }
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

/** What the prompt set calls the keys; without a result there is no contrast. */
const namesOfKeys = () =>
  selection.result
    ? keyNames(selection.result, selection.contrast)
    : { positive: 'positive key', negative: 'negative key' }

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
    words,
    query,
    marks,
    attention: own().attention,
    ...(own().scores.length > 0 && { scores: own().scores }),
    ...(swap && { after: swap.after, nullAfter: swap.nulls?.mean }),
    ...(feature && { part: feature.part }),
  }
}

function strip(profile) {
  const row = shown()
  const fill = sequential(1)
  const names = namesOfKeys()
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

const slug = () => `${selection.head}-${(selection.contrast ?? 'all').replace(/\W+/g, '-')}`

const tokenName = (i) => `“${readable(prompt().words[i]).trim()}” (${i})`

/** Heads and features that are drawn, at most; their numbers are those of all. */
const MOST_HEADS = 12
const MOST_FEATURES = 8

/** Which heads attend most to one token, from the query that is explained. */
function headsFigure() {
  const rows = () =>
    prompt()
      .heads.map((one) => ({ head: one.head, token: one.key, attention: one.attention[one.key] }))
      .sort((a, b) => b.attention - a.attention)
  return figure({
    id: () => 'heads-of-prompt',
    title: () => `Heads that attend most from ${tokenName(prompt().query)}`,
    caption: () =>
      `Of each head the token that gets most of its attention; ${rows().length > MOST_HEADS ? `the first ${MOST_HEADS} of ${rows().length} heads` : 'all heads'}. Choose one to see it in every part of this page.`,
    draw: (width) =>
      topHeads(width, {
        rows: rows().slice(0, MOST_HEADS),
        selectedHead: selection.head,
        tokenName,
        choose: (head) => select({ head }),
      }),
    rows: () => rows().map((row) => ({ ...row, word: prompt().words[row.token] })),
    height: 300,
  })
}

/** What the features make up of the score of the most attended key, beside null subspaces in their place. */
function partsFigure() {
  const isSelected = ({ contrast }) => Number(contrast === selection.contrast)
  const rows = () =>
    [...(own().features ?? [])]
      .sort((a, b) => isSelected(b) - isSelected(a) || b.gain.value - a.gain.value)
      .map(({ contrast, rank, gain }) => ({
        label: contrast,
        rank,
        mean: gain.value,
        total: gain.total,
        nullMean: gain.nulls?.mean ?? null,
        nullTop: gain.nulls?.p95 ?? null,
        within: gain.exceedsNull === false,
      }))
  return figure({
    id: () => `parts-${selection.head}`,
    title: () => `What features make up of the score of ${tokenName(own().key)}`,
    caption: () =>
      `The score of this key is ${number(own().features[0]?.gain.total, 2)} above the mean of the keys that the query sees. Each bar is a feature’s part of that${own().features?.length > MOST_FEATURES ? ` (the first ${MOST_FEATURES} of ${own().features.length})` : ''}; a single prompt seldom tells a feature from its null.`,
    key: () => controlKey('features', rows().slice(0, MOST_FEATURES)),
    draw: (width) => controlledBars(width, rows().slice(0, MOST_FEATURES), { label: 'part of the score' }),
    rows,
    height: 160,
  })
}

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
          ? selection.contrast
            ? ` No edit of “${selection.contrast}” in ${selection.head} is stored.`
            : ''
          : ' Scores and edits are stored for the explained query only.'
      return `Arcs and bars: attention; below them the scores that enter the softmax.${edit}`
    },
    key: () => {
      const { after, nullAfter, marks } = shown()
      return [
        ...(marks.includes('positive') ? [{ text: 'positive key (+)', fill: colour('feature-0') }] : []),
        ...(marks.includes('negative') ? [{ text: 'negative key (−)', fill: colour('feature-1') }] : []),
        {
          text: marks.some((own) => own && own !== 'query') ? 'other tokens' : 'attention',
          fill: colour('rest'),
        },
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
  return {
    ...made,
    redraw: () => {
      live.hidden = !own()?.pattern
      made.redraw()
    },
  }
}

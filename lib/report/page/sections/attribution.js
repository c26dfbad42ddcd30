/** Scores of one prompt and head: stacked bars a token, and the prompt's text shaded by one part. */

import { figure } from '../drawing/figure.js'
import { REST, stackedScores, stackKey } from '../drawing/stacked-scores.js'
import { marksOf, readable, tokenText } from '../drawing/tokens.js'
import { attributeCommand } from '../shared/commands.js'
import { absent, el, menu, number, percent } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'
import { diverging } from '../shared/theme.js'

const TOTAL = 'total'

export function attribution() {
  const body = el('div', {})
  const blocks = report.attributions
    .map((own, i) => ({ own, i }))
    .filter(({ own }) => own.examples.some((e) => e.rows.length > 0))
    .map(({ own, i }) => example(own, i))
  const fill = () => {
    const shown = blocks.filter(({ has }) => has())
    body.replaceChildren(
      ...shown.map(({ node }) => node),
      ...(shown.length > 0
        ? []
        : [
            absent(
              `No prompt is stored with the scores of ${selection.head} split over its features. To split them:`,
              attributeCommand(' --examples 4'),
            ),
          ]),
    )
    for (const { follow } of shown) {
      follow()
    }
  }
  onSelect(fill)
  fill()
  return el('section', { id: 'scores', 'aria-labelledby': 'scores-title' }, [
    el('h2', { id: 'scores-title' }, 'What scores are made of'),
    body,
  ])
}

/** One prompt's scores: menus, text and bars. `has` says whether the selected head is among what is stored. */
function example(own, index) {
  const prompts = own.examples.filter((e) => e.rows.length > 0)
  const state = { prompt: 0, row: 0, feature: own.features[0], token: 0 }
  const prompt = () => prompts[state.prompt]
  const row = () => prompt().rows[state.row]
  const textOf = (p) =>
    p.words ?? (p.tokens ?? p.rows[0].total).map((value, i) => (p.tokens ? `#${value}` : `${i}`))
  const valuesOf = (name) => (name === REST ? row().rest : name === TOTAL ? row().total : row().parts[name])
  const menus = el('div', { class: 'choices' })
  const text = el('div', {})

  const rowsOfHead = () =>
    prompt()
      .rows.map((r, i) => ({ ...r, i }))
      .filter((r) => r.head === selection.head)
  const rowsLong = () =>
    row().total.flatMap((_, i) =>
      [...own.features, REST].map((part) => ({
        token: i,
        word: textOf(prompt())[i],
        part,
        value: valuesOf(part)[i],
      })),
    )
  const bars = figure({
    id: () => `scores-${index + 1}-${row().head}-${state.prompt + 1}`,
    title: () => `Scores of ${row().head}, token by token`,
    caption: () =>
      `Scaled attention scores of the query at token ${row().query} (“${readable(textOf(prompt())[row().query] ?? '')}”) with every key${own.centered ? `, less the mean over ${own.keys === 'term' ? 'the term’s keys' : 'all'}` : ''}: parts stacked, negative ones below zero; the line is their sum, the full score.${ofRow(row(), own)}`,
    key: () => stackKey(own.features),
    draw: (width) => stackedScores(width, rowsLong(), row().total, textOf(prompt()), own.features),
    rows: () =>
      row().total.map((total, i) => ({
        token: i,
        word: textOf(prompt())[i],
        total,
        ...Object.fromEntries([...own.features, REST].map((name) => [name, valuesOf(name)[i]])),
      })),
    after: (plot) => {
      const hits = [...plot.querySelectorAll('g.hits rect')]
      hits.forEach((rect, i) => {
        rect.addEventListener('mouseenter', () =>
          text.querySelector(`[data-token="${i}"]`)?.dispatchEvent(new Event('mouseenter')),
        )
      })
      mark()
    },
  })
  const mark = () => {
    const hits = bars.node.querySelectorAll('g.hits rect')
    hits.forEach((rect, i) => {
      rect.setAttribute('fill-opacity', i === state.token && state.told ? '0.14' : '0')
    })
  }
  const describe = (i) => {
    if (i >= row().total.length) {
      return `Token ${i}, “${readable(textOf(prompt())[i])}”: after the query, not attended.`
    }
    const parts = [...own.features, REST].map((name) => `${name} ${number(valuesOf(name)[i])}`)
    return `Token ${i}, “${readable(textOf(prompt())[i])}”: full score ${number(row().total[i])} = ${parts.join(', ')}.`
  }
  const fillText = () =>
    text.replaceChildren(
      tokenText({
        words: textOf(prompt()),
        shade: shadeOf(valuesOf(state.feature)),
        marks: marksOf(undefined, row().query, textOf(prompt()).length),
        describe,
        current: state.token,
        show: (i) => {
          state.token = i
          state.told = true
          mark()
        },
      }),
    )
  const fillMenus = () => {
    const option = (value, name) => ({ value: `${value}`, text: name })
    const rows = rowsOfHead()
    menus.replaceChildren(
      menu(
        'Prompt',
        prompts.map((p, i) => option(i, `${i + 1}: ${opening(textOf(p))}`)),
        `${state.prompt}`,
        (value) => {
          Object.assign(state, { prompt: Number(value), token: 0, told: false })
          follow()
        },
      ),
      ...(rows.length > 1
        ? [
            menu(
              'Term',
              rows.map(({ i, contrast, query }) => option(i, `${contrast}, query ${query}`)),
              `${state.row}`,
              (value) => {
                state.row = Number(value)
                refresh()
              },
            ),
          ]
        : []),
      menu(
        'Shade by',
        [...own.features, REST, TOTAL].map((name) => option(name, name === TOTAL ? 'full score' : name)),
        state.feature,
        (value) => {
          state.feature = value
          fillText()
        },
      ),
    )
  }
  const refresh = () => {
    if (!menus.contains(document.activeElement)) {
      fillMenus()
    } else {
      syncMenus()
    }
    fillText()
    bars.redraw()
  }
  /** The menu in use is kept, so that the focus is not lost; the others follow. */
  const syncMenus = () => {
    const active = [...menus.querySelectorAll('select')].indexOf(document.activeElement)
    fillMenus()
    menus.querySelectorAll('select')[active]?.focus()
  }
  /** The row of the selected head, of the selected contrast where it has one; the shade of the contrast's feature. */
  const follow = () => {
    const rows = rowsOfHead()
    const best = rows.find(({ contrast }) => contrast === selection.contrast) ?? rows[0]
    if (best) {
      state.row = best.i
    }
    if (own.features.includes(selection.contrast)) {
      state.feature = selection.contrast
    }
    refresh()
  }
  redrawText.push(fillText)
  const node = el('div', { class: 'document' }, [
    el('p', {}, `${own.name}: one prompt, token by token.`),
    menus,
    text,
    bars.node,
  ])
  return { node, follow, has: () => prompts.some((p) => p.rows.some((r) => r.head === selection.head)) }
}

/** What the features explain of one row, beside what they and null subspaces explain of all rows. */
function ofRow({ explained: own, head, contrast }, { heads }) {
  if (own === null) {
    return ''
  }
  const { controls } = heads[head].contrasts[contrast]
  const nulls = controls.nulls
    ? `null subspaces ${percent(controls.nulls.mean)} of all rows’, 95th percentile ${percent(controls.nulls.p95)}`
    : 'no null'
  return ` The features explain ${percent(own)} of the energy of this row’s keys that count (${nulls}).`
}

const redrawText = []

/** The shades of tokens follow the scheme. */
export function reshadeTokens() {
  for (const fill of redrawText) {
    fill()
  }
}

/** Signed values by colour, those after the query by none. */
function shadeOf(values) {
  const fill = diverging(Math.max(...values.map(Math.abs)))
  return (i) => (i < values.length ? fill(values[i]) : undefined)
}

const opening = (words) => {
  const text = words.map(readable).join(' ').replace(/\s+/g, ' ').trim()
  return text.length > 60 ? `${text.slice(0, 58)} …` : text
}

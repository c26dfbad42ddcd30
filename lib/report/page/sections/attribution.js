/** Scores of one prompt and head: stacked bars a token, and the prompt's text shaded by one part. */

import { explained } from '../drawing/explained.js'
import { figure } from '../drawing/figure.js'
import { REST, stackedScores, stackKey } from '../drawing/stacked-scores.js'
import { readable, tokenText } from '../drawing/tokens.js'
import { absent, el, menu, number, percent } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

const TOTAL = 'total'

export function attribution() {
  const section = el('section', { id: 'attribution', 'aria-labelledby': 'attribution-title' })
  section.append(el('h2', { id: 'attribution-title' }, 'Attribution'))
  if (report.attributions.length === 0) {
    const hint = 'qkspace attribute … --out A.json, then qkspace report … --attribution A.json'
    section.append(absent('No attribution was given. To see here what scores are made of:', hint))
    return section
  }
  section.append(...report.attributions.map((own, i) => block(own, i)))
  return section
}

function block(own, index) {
  const order = own.order ? ` in the order ${own.order.join(', ')}` : ''
  const keys = own.keys === 'term' ? 'keys of the terms' : 'all keys'
  const words = `Method ${own.method}${order}, ${own.sides} side${own.sides === 'both' ? 's' : ''}, ${keys}${own.centered ? ', each row less its mean over them' : ''}, seed ${own.seed}.`
  const parts = [el('h3', {}, own.name), el('p', {}, words), explained(own, index).node]
  if (own.examples.some((e) => e.rows.length > 0)) parts.push(...example(own, index))
  else
    parts.push(
      absent('No prompt was kept. To see scores token by token:', 'qkspace attribute … --examples 4'),
    )
  return el('div', { class: 'document' }, parts)
}

/** One prompt's scores: menus, text and bars. */
function example(own, index) {
  const prompts = own.examples.filter((e) => e.rows.length > 0)
  const headsOf = (prompt) => [...new Set(prompt.rows.map((r) => r.head))]
  const state = { prompt: 0, row: 0, feature: own.features[0], token: 0 }
  const prompt = () => prompts[state.prompt]
  const row = () => prompt().rows[state.row]
  const textOf = (p) =>
    p.words ?? (p.tokens ?? p.rows[0].total).map((value, i) => (p.tokens ? `#${value}` : `${i}`))
  const valuesOf = (name) => (name === REST ? row().rest : name === TOTAL ? row().total : row().parts[name])
  const menus = el('div', { class: 'choices' })
  const text = el('div', {})

  const wanted = prompt().rows.findIndex((r) => r.head === selection.head)
  if (wanted >= 0) state.row = wanted

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
        ...{ token: i, word: textOf(prompt())[i], total },
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
    if (i >= row().total.length)
      return `Token ${i}, “${readable(textOf(prompt())[i])}”: after the query, not attended.`
    const parts = [...own.features, REST].map((name) => `${name} ${number(valuesOf(name)[i])}`)
    return `Token ${i}, “${readable(textOf(prompt())[i])}”: full score ${number(row().total[i])} = ${parts.join(', ')}.`
  }
  const fillText = () =>
    text.replaceChildren(
      tokenText({
        words: textOf(prompt()),
        values: valuesOf(state.feature),
        query: row().query,
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
    const several = (r) => prompt().rows.filter((o) => o.head === r.head).length > 1
    menus.replaceChildren(
      menu(
        'Prompt',
        prompts.map((p, i) => option(i, `${i + 1}: ${opening(textOf(p))}`)),
        `${state.prompt}`,
        (value) => {
          const { head } = row()
          state.prompt = Number(value)
          state.row = Math.max(
            0,
            prompt().rows.findIndex((r) => r.head === head),
          )
          state.token = 0
          state.told = false
          refresh()
        },
      ),
      menu(
        'Head',
        prompt().rows.map((r, i) => option(i, several(r) ? `${r.head}, query ${r.query}` : r.head)),
        `${state.row}`,
        (value) => {
          state.row = Number(value)
          refresh()
        },
      ),
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
    if (!menus.contains(document.activeElement)) fillMenus()
    else syncMenus()
    fillText()
    bars.redraw()
  }
  /** The menu in use is kept, so that the focus is not lost; the others follow. */
  const syncMenus = () => {
    const active = [...menus.querySelectorAll('select')].indexOf(document.activeElement)
    fillMenus()
    menus.querySelectorAll('select')[active]?.focus()
  }
  onSelect(({ head }) => {
    const at = prompt().rows.findIndex((r) => r.head === head)
    if (at < 0 || !headsOf(prompt()).includes(head)) return
    state.row = at
    refresh()
  })
  fillMenus()
  fillText()
  redrawText.push(fillText)
  return [el('h4', {}, 'One prompt'), menus, text, bars.node]
}

/** What the features explain of one row, beside what they and null subspaces explain of all rows. */
function ofRow({ explained: own, head, contrast }, { heads }) {
  if (own === null) return ''
  const { controls } = heads[head].contrasts[contrast]
  const nulls = controls.nulls
    ? `null subspaces ${percent(controls.nulls.mean)} of all rows’, 95th percentile ${percent(controls.nulls.p95)}`
    : 'no null'
  return ` The features explain ${percent(own)} of the energy of this row’s keys that count (${nulls}).`
}

const redrawText = []

/** The shades of tokens follow the scheme. */
export function reshadeTokens() {
  for (const fill of redrawText) fill()
}

const opening = (words) => {
  const text = words.map(readable).join(' ').replace(/\s+/g, ' ').trim()
  return text.length > 60 ? `${text.slice(0, 58)} …` : text
}

/** Claims with their verdicts and the figures that decide them. */

import { el, percent } from '../../shared/dom.js'

const CLASSES = { held: 'held', 'held, and random labels do as well': 'alike', 'not held': 'failed' }

const badge = (verdict) => el('b', { class: CLASSES[verdict] }, verdict)

const claimsOf = (one) => [one, ...(one.further ?? [])]

/** A row each figure that decides a claim: claim, figure, null, verdict. */
export function claimTable(figures, anchor, nameOf) {
  const head = ['claim', 'figure', 'null: mean, 95th percentile', 'key components', 'verdict']
  const rows = figures.flatMap((one) => claimsOf(one).flatMap((own) => claimRows(one, own, anchor, nameOf)))
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Claims and verdicts' }, [
    el('table', { class: 'claims' }, [
      el('caption', { class: 'hidden' }, 'Claims and verdicts'),
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          head.map((text) => el('th', { scope: 'col' }, text)),
        ),
      ),
      el('tbody', {}, rows),
    ]),
  ])
}

function claimRows(one, { claim, verdict, decisive }, anchor, nameOf) {
  const rowspan = decisive.length
  return decisive.map(({ name, value, nulls, keys }, i) => {
    const figure = `${name} ${percent(value)}`
    return el('tr', {}, [
      i === 0
        ? el('td', { class: 'claim', rowspan }, [
            el('a', { href: `#${anchor(one)}` }, nameOf(one)),
            `: ${claim}`,
          ])
        : null,
      el('td', { class: 'decisive' }, figure),
      el('td', {}, nullWords(nulls)),
      el('td', {}, typeof keys === 'number' ? percent(keys) : ''),
      i === 0 ? el('td', { class: 'verdict', rowspan }, badge(verdict)) : null,
    ])
  })
}

const nullWords = (nulls) => (nulls ? `${percent(nulls.mean)}, ${percent(nulls.p95)}` : 'none')

/** The claims of a figure, each with its verdict and what decides it. */
export function claimParts(one) {
  return claimsOf(one).flatMap(({ claim, verdict, why }) => [
    el('p', { class: 'verdict' }, [badge(verdict), ` ${claim}`]),
    el('p', { class: 'absent' }, `${why[0].toUpperCase()}${why.slice(1)}.`),
  ])
}

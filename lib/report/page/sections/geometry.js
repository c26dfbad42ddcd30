/**
 * Queries and keys of terms inside the selected subspace: a strip where it has one dimension, planes where it has more,
 * and points that turn where three axes hold most of the variance.
 */

import { planes } from '../drawing/points/planes.js'
import { scatter } from '../drawing/points/scatter.js'
import { attributeCommand } from '../shared/commands.js'
import { absent, el, percent } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

/** Three axes are turned in space only where they hold this much: otherwise distances there mislead. */
const ENOUGH = 0.8

export function geometry() {
  const body = el('div', {})
  const fill = () => {
    const given = report.attributions
      .map((own, index) => ({ own, index }))
      .filter(({ own }) => own.points?.[selection.contrast]?.key.heads[selection.head])
    body.replaceChildren(
      ...(given.length > 0
        ? given.map(({ own, index }) => block(own, index))
        : [
            absent(
              `How queries and keys lie in the subspace of “${selection.contrast}” in ${selection.head} was not measured. To measure it:`,
              attributeCommand(' --points 200'),
            ),
          ]),
    )
  }
  onSelect(fill)
  fill()
  return el('section', { id: 'geometry', 'aria-labelledby': 'geometry-title' }, [
    el('h2', { id: 'geometry-title' }, 'Geometry'),
    el(
      'p',
      {},
      'Keys of terms inside V, and queries inside U, along the principal components of what is drawn. Crosses are the centroids of labels.',
    ),
    body,
  ])
}

const block = (own, index) =>
  el('div', { class: 'document' }, [
    el('p', {}, own.name),
    el(
      'div',
      { class: 'pair' },
      ['key', 'query'].map((side) => cloudOf(own, side, index).node),
    ),
  ])

/** How far labels lie apart, beside the null. */
function separationWords({ value, nulls, exceedsNull }) {
  const own = `Labels account for ${percent(value, 0)} of the variance here`
  if (!nulls) {
    return `${own}; there are no null subspaces to compare with.`
  }
  const verdict = exceedsNull === false ? ': no more than by chance' : ''
  return `${own}, in subspaces of random labels for ${percent(nulls.mean, 0)} (95th percentile ${percent(nulls.p95, 0)})${verdict}.`
}

const BASES = { key: 'V', query: 'U' }
const TITLES = { key: 'Keys', query: 'Queries' }

function cloudOf(own, side, index) {
  const { head, contrast } = selection
  const all = own.points[contrast][side]
  const { rank, shares, coordinates, separation } = all.heads[head]
  const wide = shares.length
  const points = all.labels.map((label, i) => ({
    label,
    role: all.roles[i],
    token: all.tokens?.[i],
    at: coordinates.slice(i * wide, (i + 1) * wide),
  }))
  const held = (count) => shares.slice(0, count).reduce((sum, share) => sum + share, 0)
  const nothing = `There is nothing to draw: the subspace of ${head} has rank ${rank}, or its points are one.`
  const inSpace = wide >= 3 && rank >= 3 && held(3) >= ENOUGH
  const apart = separation ? ` ${separationWords(separation)}` : ''
  const common = {
    id: () => `${side}-points-${index + 1}`,
    title: () => `${TITLES[side]} in ${BASES[side]} of ${head}, ${contrast}`,
    caption: () =>
      `${points.length} ${TITLES[side].toLowerCase()} of terms in the subspace of rank ${rank}; the axes hold ${percent(held(inSpace ? 3 : 4), 0)} of their variance there.${apart}`,
    more: () => ({ head, feature: contrast, side }),
  }
  if (wide === 0) {
    return planes({ ...common, cloud: () => nothing })
  }
  return inSpace
    ? scatter({
        ...common,
        cloud: () => ({ points: points.map((p) => ({ ...p, at: p.at.slice(0, 3) })), shares }),
      })
    : planes({ ...common, cloud: () => ({ points, shares }) })
}

/** Queries and keys of terms inside the subspaces of the selected head, as points that turn. */

import { scatter } from '../drawing/scatter.js'
import { absent, el, menu, percent } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

export function geometry() {
  const section = el('section', { id: 'geometry', 'aria-labelledby': 'geometry-title' })
  section.append(el('h2', { id: 'geometry-title' }, 'Geometry'))
  const given = report.attributions.filter(({ points }) => points)
  if (given.length === 0) {
    const hint = 'qkspace attribute … --points 200 --out A.json, then qkspace report … --attribution A.json'
    section.append(
      absent('No points were given. To see here how keys and queries lie in the subspaces:', hint),
    )
    return section
  }
  section.append(
    el(
      'p',
      {},
      'Keys of terms inside V, and queries inside U, along the principal components of what is drawn. Their distances are those within the subspace, as far as the axes hold its variance.',
    ),
    ...given.map(block),
  )
  return section
}

function block(own, index) {
  const features = Object.keys(own.points)
  const heads = Object.keys(own.points[features[0]].key.heads)
  const state = { head: heads[0], feature: features[0] }
  const follow = ({ head, contrast }) => {
    if (heads.includes(head)) state.head = head
    if (features.includes(contrast)) state.feature = contrast
  }
  follow(selection)
  const figures = ['key', 'query'].map((side) => cloudOf(own, state, side, index))
  const [headMenu, featureMenu] = [
    ['Head', heads, 'head'],
    ['Feature', features, 'feature'],
  ].map(([label, names, field]) =>
    menu(
      label,
      names.map((value) => ({ value })),
      state[field],
      (value) => {
        state[field] = value
        for (const { redraw } of figures) redraw()
      },
    ),
  )
  onSelect((change) => {
    follow(change)
    headMenu.querySelector('select').value = state.head
    featureMenu.querySelector('select').value = state.feature
    for (const { redraw } of figures) redraw()
  })
  return el('div', { class: 'document' }, [
    el('h3', {}, own.name),
    el('div', { class: 'choices' }, headMenu, featureMenu),
    el(
      'div',
      { class: 'pair' },
      figures.map(({ node }) => node),
    ),
  ])
}

const BASES = { key: 'V', query: 'U' }
const TITLES = { key: 'Keys', query: 'Queries' }

function cloudOf(own, state, side, index) {
  const of = () => own.points[state.feature][side]
  const here = () => of().heads[state.head]
  const cloud = () => {
    const { shares, coordinates } = here()
    const wide = shares.length
    if (wide === 0)
      return `There is nothing to draw: the subspace of ${state.head} has rank ${here().rank}, or its points are one.`
    const points = of().labels.map((label, i) => ({
      ...{ label, role: of().roles[i], at: coordinates.slice(i * wide, (i + 1) * wide) },
    }))
    return { points, shares }
  }
  return scatter({
    id: () => `${side}-points-${index + 1}`,
    title: () => `${TITLES[side]} in ${BASES[side]} of ${state.head}, ${state.feature}`,
    caption: () => {
      const { shares, rank } = here()
      const held = shares.reduce((sum, share) => sum + share, 0)
      return `${of().labels.length} ${TITLES[side].toLowerCase()} of terms in the subspace of rank ${rank}; the axes hold ${percent(held, 0)} of their variance there.`
    },
    cloud,
    more: () => ({ head: state.head, feature: state.feature, side }),
  })
}

/** How much of the selected head's scores the features explain: each on the terms of its own contrast, and all together. */

import { capital } from '../shared/dom.js'
import { selection } from '../shared/selection.js'
import { controlKey, controlledBars, NO_NULL } from './controlled-bars.js'
import { figure } from './figure.js'

const ALL = 'all features'

export function explained(own, index) {
  const rows = () => rowsOf(own)
  return figure({
    id: () => `explained-${index + 1}-${selection.head}`,
    title: () => `Energy of the scores of ${selection.head} explained`,
    caption: () =>
      `1 less the energy of the rest over that of the scores, all rows of a contrast’s terms together, with 95% bootstrap intervals over prompts. Each bar is the contrast’s own feature, or all features, on its terms; empty subspaces have none.${own.noNull ? ` ${capital(NO_NULL)}.` : ''}`,
    key: () => controlKey('features', rows()),
    draw: (width) =>
      rows().length === 0
        ? 'Nothing to draw: the subspaces of this head are empty.'
        : controlledBars(width, rows(), { domain: [0, 1], tickFormat: '.0%', label: 'explained' }),
    rows,
  })
}

function rowsOf(own) {
  const { head } = selection
  const several = own.features.length > 1
  const row = (terms, by, { rank, energy, controls, exceedsNull }) => ({
    label: by === ALL ? `${terms}, all features` : terms,
    head,
    terms,
    by,
    rank,
    ...energy,
    nullMean: controls.nulls?.mean ?? null,
    nullTop: controls.nulls?.p95 ?? null,
    keys: controls.keys,
    meanQuery: controls.meanQuery,
    random: controls.random?.mean ?? null,
    within: exceedsNull === false,
  })
  return Object.entries(own.heads[head]?.contrasts ?? {})
    .flatMap(([terms, found]) => [
      ...(found.own ? [{ ...row(terms, terms, found.own), ...shares(found.share) }] : []),
      ...(several || !found.own ? [{ ...row(terms, ALL, found), ...shares(found.share) }] : []),
    ])
    .filter(({ rank, mean }) => rank > 0 && typeof mean === 'number')
}

const shares = (share) =>
  Object.fromEntries(Object.entries(share).map(([name, value]) => [`share of ${name}`, value.mean]))

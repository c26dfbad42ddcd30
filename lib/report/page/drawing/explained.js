/** How much of each head's scores the features explain: each on the terms of its own contrast, and all together. */

import { controlKey, controlledBars, NO_NULL } from './controlled-bars.js'
import { figure } from './figure.js'

const ALL = 'all features'

export function explained(own, index) {
  const rows = () => rowsOf(own)
  return figure({
    id: () => `explained-${index + 1}`,
    title: () => 'Energy of the scores explained',
    caption: () =>
      `1 less the energy of the rest over that of the scores, all rows of a contrast’s terms together, with 95% bootstrap intervals over prompts. Each bar is the contrast’s own feature, or all features, on its terms; empty subspaces have none.${own.noNull ? ` ${capital(NO_NULL)}.` : ''}`,
    key: () => controlKey('features', rows()),
    draw: (width) =>
      rows().length === 0
        ? 'Nothing to draw: the subspaces of these heads are empty.'
        : controlledBars(width, rows(), { domain: [0, 1], tickFormat: '.0%', label: 'explained' }),
    rows,
  })
}

/** Heads of most energy explained first. */
function rowsOf(own) {
  const several = own.features.length > 1
  const row = (head, terms, by, { rank, energy, controls, exceedsNull }) => ({
    ...{ label: by === ALL ? `${head} ${terms}, all` : `${head} ${terms}`, head, terms, by, rank, ...energy },
    ...{ nullMean: controls.nulls?.mean ?? null, nullTop: controls.nulls?.p95 ?? null },
    ...{ keys: controls.keys, meanQuery: controls.meanQuery, random: controls.random?.mean ?? null },
    within: exceedsNull === false,
  })
  return Object.entries(own.heads)
    .map(([head, { contrasts }]) =>
      Object.entries(contrasts).flatMap(([terms, found]) => [
        ...(found.own ? [{ ...row(head, terms, terms, found.own), ...shares(found.share) }] : []),
        ...(several || !found.own ? [{ ...row(head, terms, ALL, found), ...shares(found.share) }] : []),
      ]),
    )
    .map((rows) => rows.filter(({ rank, mean }) => rank > 0 && typeof mean === 'number'))
    .filter((rows) => rows.length > 0)
    .sort((a, b) => b[0].mean - a[0].mean)
    .flat()
}

const shares = (share) =>
  Object.fromEntries(Object.entries(share).map(([name, value]) => [`share of ${name}`, value.mean]))

const capital = (text) => text[0].toUpperCase() + text.slice(1)

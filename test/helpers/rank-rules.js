/**
 * Ranks of tests that are about something else: the paper's rule, which needs no more than one prompt.
 * @type {import('../../dist/index.js').RankRule}
 */
export const ENERGY = { rule: 'energy', threshold: 0.99 }

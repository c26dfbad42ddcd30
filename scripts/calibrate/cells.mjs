/** What is simulated: every cell by name, in the order in which cells run. */

import { bundledModel } from './bundled-model.mjs'
import { falsePositives } from './false-positives.mjs'
import { manyHeads } from './families.mjs'
import { noiseRank, plantedLabels, plantedRank } from './planted.mjs'
import { powerOfEffect, strengthAt } from './power.mjs'

export const MEASURES = {
  'false positives': falsePositives,
  'planted ranks': (/** @type {string} */ id, /** @type {any} */ { data, ...params }) =>
    (data === 'labels' ? plantedLabels : plantedRank)(id, params),
  'rank of noise': noiseRank,
  'many heads': manyHeads,
  power: powerOfEffect,
  'bundled model': bundledModel,
}

const BOTH = ['effect', 'interaction']
/** Numbers of a call, so that its arrays stay below some 80 MB. */
const CALL = 2e7

/**
 * `sizes`: pairs of d and units. `exceptions`: hypotheses for which 0.05 is not promised.
 * @param {string} kind
 * @param {number[][]} sizes
 * @param {Record<string, any>} [options]
 */
function falsePositiveCells(kind, sizes, options = {}) {
  const { exceptions = [], hypotheses = BOTH, data = 'explicit', ...rest } = options
  return sizes.map(([d, units]) => {
    const rowsOfUnit = data === 'labels' ? 2 * rest.length : 3 * (rest.perPrompt ?? 1)
    const heads = Math.max(4, Math.min(100, Math.floor(CALL / (units * d * rowsOfUnit))))
    return {
      id: `false positives/${kind}/d ${d}/${units} units`,
      group: 'false positives',
      kind,
      exceptions,
      params: { data, d, units, sets: d >= 128 ? 200 : 1000, heads, hypotheses, ...rest },
    }
  })
}

const OFFSETS = { perPrompt: 5, offset: true }
/** Exchanged label sequences take some 50 ms a data set. */
const LABELS = { data: 'labels', length: 32, trend: true, sets: 300 }
const LABEL_SETS = { independent: { sets: 500 } }

const NULLS = [
  falsePositiveCells('Gaussian', [
    [16, 50],
    [16, 300],
    [16, 3000],
    [64, 100],
    [64, 1000],
    [128, 300],
    [128, 3000],
  ]),
  falsePositiveCells('Gaussian, draws continued', [[16, 100]], { draws: 199, mostDraws: 9999 }),
  falsePositiveCells(
    't3',
    [
      [16, 100],
      [64, 300],
      [128, 300],
    ],
    { noise: 't3' },
  ),
  falsePositiveCells(
    'correlated dimensions',
    [
      [16, 300],
      [64, 300],
      [128, 300],
    ],
    { noise: 'coloured' },
  ),
  falsePositiveCells(
    'shared means',
    [
      [16, 300],
      [64, 300],
    ],
    { means: true },
  ),
  falsePositiveCells('correlated dimensions and means', [[64, 100]], { noise: 'coloured', means: true }),
  falsePositiveCells(
    'offsets within prompts',
    [
      [16, 20],
      [16, 100],
      [64, 200],
    ],
    OFFSETS,
  ),
  falsePositiveCells('offsets within prompts, t3', [[16, 100]], { ...OFFSETS, noise: 't3' }),
  falsePositiveCells(
    'counterfactual',
    [
      [16, 30],
      [16, 300],
      [64, 300],
    ],
    { counterfactual: true, means: true },
  ),
  falsePositiveCells(
    'one positive, four negatives',
    [
      [16, 100],
      [64, 300],
    ],
    { negatives: 4, means: true },
  ),
  falsePositiveCells(
    'terms of a prompt share keys',
    [
      [16, 100],
      [64, 200],
    ],
    { perPrompt: 5, sharedKeys: true, negatives: 4, offset: true },
  ),
  falsePositiveCells(
    'positives of four times the variance',
    [
      [16, 300],
      [64, 300],
    ],
    { positiveScale: 2 },
  ),
  falsePositiveCells(
    'one unit of 30 times the size',
    [
      [16, 50],
      [16, 300],
    ],
    { outlier: 30 },
  ),
  falsePositiveCells(
    'units of lognormal size',
    [
      [16, 50],
      [16, 300],
    ],
    { scales: 1 },
  ),
  falsePositiveCells(
    'per-pair, unequal sets, means',
    [
      [16, 300],
      [64, 300],
    ],
    { negatives: [1, 4], means: true, estimator: 'per-pair' },
  ),
  falsePositiveCells(
    'sum, unequal sets, means',
    [
      [16, 300],
      [64, 300],
    ],
    { negatives: [1, 4], means: true, estimator: 'sum', hypotheses: ['effect'] },
  ),
  falsePositiveCells('keys permuted, declared exchangeable', [[16, 100]], {
    negatives: 4,
    exchangeable: true,
  }),
  // Every set of these shows an effect, whose components and replications take most of the time.
  falsePositiveCells('mean query, constant key offset', [[16, 300]], {
    means: true,
    keyOffset: 1,
    exceptions: ['effect'],
  }),
  falsePositiveCells('mean query, constant key offset', [[64, 300]], {
    means: true,
    keyOffset: 1,
    exceptions: ['effect'],
    sets: 200,
  }),
  ...['lognormal', 'exponential'].map((weight) => {
    return falsePositiveCells(
      `skewed units, ${weight}`,
      [
        [16, 20],
        [16, 50],
        [16, 200],
      ],
      { data: 'skewed', weight, hypotheses: ['effect'], exceptions: ['effect'] },
    )
  }),
  ...['independent', 'sticky', 'drifting', 'alternating'].flatMap((labels) => [
    falsePositiveCells(`labels: ${labels}`, [[16, 40]], { ...LABELS, labels, ...LABEL_SETS[labels] }),
    falsePositiveCells(`labels: ${labels}, lengths differ`, [[16, 40]], {
      ...LABELS,
      labels,
      ...LABEL_SETS[labels],
      length: 48,
      mixed: true,
    }),
  ]),
  falsePositiveCells('labels: independent, signs turned', [[16, 100]], {
    data: 'labels',
    length: 32,
    labels: 'independent',
    exchangeable: true,
  }),
  // Wrong on purpose: what the choice of units, and of exchanges, guards against.
  falsePositiveCells('wrong unit: term, not prompt', [[16, 100]], {
    ...OFFSETS,
    unit: 'term',
    sets: 200,
    exceptions: BOTH,
  }),
  falsePositiveCells('wrong: signs turned, sticky labels', [[16, 100]], {
    ...LABELS,
    labels: 'sticky',
    exchangeable: true,
    sets: 200,
    exceptions: BOTH,
  }),
  falsePositiveCells('labels: sticky', [[64, 40]], { ...LABELS, labels: 'sticky', sets: 100 }),
].flat()

/**
 * d, units, strengths, sets of the strength that has a bar, sets of others, heads a call.
 * @type {[number, number, number[], number, number, number][]}
 */
const PLANTED_SIZES = [
  [16, 1000, [3, 2, 1.5, 1], 400, 200, 100],
  [64, 1000, [3, 2, 1.5, 1], 600, 50, 50],
  [128, 3000, [3], 100, 100, 20],
]

const PLANTED = PLANTED_SIZES.flatMap(([d, units, strengths, barSets, otherSets, heads]) => {
  return strengths.flatMap((strength) => {
    return [1, 3, 8].map((rank) => ({
      id: `planted ranks/d ${d}/${units} units/rank ${rank}/strength ${strength}`,
      group: 'planted ranks',
      bar: strength === 3,
      params: {
        d,
        units,
        rank,
        strength,
        sets: strength === 3 ? barSets : otherSets,
        heads,
        // As many draws as components of a discovered head have; at d = 128 the first ones alone, for the time it takes.
        ...(strength === 3 && d < 128 && { stages: [199, 999] }),
      },
    }))
  })
})

/** Three classes of which queries and keys carry a vector each, so that ΔC has rank 2. */
const PLANTED_LABELS = [
  ['sticky', false],
  ['sticky', true],
].map(([labels, mixed]) => ({
  id: `planted ranks/labels: ${labels}${mixed ? ', lengths differ' : ''}/d 16/40 units/rank 2`,
  group: 'planted ranks',
  bar: true,
  params: {
    data: 'labels',
    d: 16,
    units: 40,
    length: mixed ? 48 : 32,
    labels,
    mixed,
    trend: true,
    signal: 1,
    rank: 2,
    sets: 200,
    heads: 50,
  },
}))

const NOISE = [8, 16, 32, 64, 96, 128].map((d) => ({
  id: `rank of noise/d ${d}`,
  group: 'rank of noise',
  params: { d, units: 500, sets: d > 64 ? 20 : 50, heads: 10 },
}))

const FAMILIES = [
  { kind: 'separate heads', families: 10 },
  { kind: 'shared noise', families: 5, common: true },
  { kind: 'grouped keys', families: 5, group: 4 },
  { kind: 'separate heads, weak signals', families: 4, strengths: [0.6, 1.5] },
].map(({ kind, families, ...sharing }) => ({
  id: `many heads/${kind}`,
  group: 'many heads',
  kind,
  params: { d: 16, units: 300, heads: 1000, signals: 200, families, ...sharing },
}))

/** Distances at which power goes from the level to 1. */
const DISTANCES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3]
const POWER_UNITS = [50, 100, 300, 1000, 3000]
const MOST_STRENGTH = 0.9

const POWER = [16, 32, 64, 128].flatMap((d) => {
  return POWER_UNITS.flatMap((units) => {
    // The sharper the curve, the fewer distances have something to show.
    const farthest = d >= 64 ? 2 : 3
    const strengths = DISTANCES.filter((distance) => distance <= farthest)
      .map((distance) => strengthAt(distance, d, units))
      .filter((strength) => strength <= MOST_STRENGTH)
    if (strengthAt(farthest, d, units) > MOST_STRENGTH) {
      strengths.push(MOST_STRENGTH)
    }
    const sets = d * units >= 128 * 1000 ? 50 : d * units >= 64 * 1000 ? 100 : 200
    const heads = Math.max(10, Math.min(sets, Math.floor(CALL / (2 * units * d))))
    return strengths.map((strength) => ({
      id: `power/d ${d}/${units} units/strength ${strength.toFixed(3)}`,
      group: 'power',
      params: { d, units, strength: Number(strength.toFixed(3)), sets, heads },
    }))
  })
})

/**
 * Prompts of the bundled families: what their answers show, what shuffled answers and random weights must not.
 * @type {{ family: string, answers: string, weights: string, seeds: number, center?: boolean, exception?: boolean }[]}
 */
const BUNDLED_RUNS = [
  ...['boxes', 'categories'].flatMap((family) => [
    { family, answers: 'real', weights: 'trained', seeds: 20 },
    { family, answers: 'shuffled', weights: 'trained', seeds: 20 },
    { family, answers: 'shuffled', weights: 'trained', seeds: 20, center: true },
    { family, answers: 'real', weights: 'random', seeds: 20, center: true },
  ]),
  { family: 'boxes', answers: 'real', weights: 'random', seeds: 20 },
  // Words of a category are other tokens: with random weights too their keys differ by a constant.
  { family: 'categories', answers: 'real', weights: 'random', seeds: 5, exception: true },
]

const BUNDLED = BUNDLED_RUNS.map(({ exception = false, ...params }) => ({
  id: `bundled model/${params.family}, ${params.answers} answers, ${params.weights} weights, ${params.center ? 'interaction' : 'effect'}`,
  group: 'bundled model',
  exception,
  params: { ...params, prompts: 300 },
}))

const HEAVY = 128
const light = (cell) => cell.params.d < HEAVY

/** The heaviest last, labels before them. */
export const FULL = [
  ...NULLS.filter((cell) => light(cell) && cell.params.data !== 'labels'),
  ...PLANTED.filter((cell) => light(cell)),
  ...FAMILIES,
  ...NOISE,
  ...POWER.filter(light),
  ...NULLS.filter((cell) => light(cell) && cell.params.data === 'labels'),
  ...PLANTED_LABELS,
  ...BUNDLED,
  ...[...NULLS, ...PLANTED, ...POWER].filter((cell) => !light(cell)),
]

/** One cell of every kind, with few sets and small sizes: whether it runs, and whether it is grossly right. */
export const QUICK = [
  ...firstOfKind(NULLS).map((cell) => {
    const labels = cell.params.data === 'labels'
    return smaller(cell, { sets: labels ? 40 : 100, units: Math.min(cell.params.units, labels ? 20 : 40) })
  }),
  ...[1, 3].map((rank) => ({
    id: `planted ranks/d 16/200 units/rank ${rank}/strength 3`,
    group: 'planted ranks',
    bar: true,
    params: { d: 16, units: 200, rank, strength: 3, sets: 50, heads: 50 },
  })),
  smaller(NOISE[0], { units: 100, sets: 10 }),
  ...FAMILIES.map((cell) => ({
    ...cell,
    rough: true,
    params: { ...cell.params, heads: 100, signals: 20, families: 2 },
  })),
  smaller(BUNDLED[0], { prompts: 100, seeds: 1 }),
  smaller(BUNDLED[1], { prompts: 100, seeds: 1 }),
  ...[0.2, 0.8].map((strength) => ({
    id: `power/d 16/100 units/strength ${strength}`,
    group: 'power',
    params: { d: 16, units: 100, strength, sets: 50, heads: 50 },
  })),
]

function firstOfKind(cells) {
  return cells.filter(({ kind }, i) => cells.findIndex((other) => other.kind === kind) === i)
}

function smaller(cell, params) {
  const { d, units } = { ...cell.params, ...params }
  return {
    ...cell,
    id: cell.id.replace(/d \d+.*/, `d ${d}/${units} units`),
    params: { ...cell.params, ...params },
  }
}

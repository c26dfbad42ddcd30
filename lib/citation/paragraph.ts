/** Settings in sentences, for a methods section. Every figure comes from the file. */

import type { CitedSettings, CitedTest } from './settings.js'

/** Sentences with the settings in the file; the last one names missing settings. */
export function methodsParagraph(settings: CitedSettings): string {
  const sentences = [
    ...origin(settings),
    ...covariances(settings),
    ...ranks(settings),
    ...roles(settings),
    ...computed(settings),
    ...lacking(settings),
  ]
  return sentences.join(' ')
}

const plural = (count: number, what: string) =>
  `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`

const listed = (parts: readonly string[]) =>
  parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts[parts.length - 1]}`

const hash = (sha256: string | null) => (sha256 === null ? '' : ` (SHA-256 ${sha256})`)

function origin({ model, prompts }: CitedSettings): string[] {
  const named = model.name === null ? 'the model' : `the model ${model.name}`
  const contrasts = prompts.contrasts.map(({ name, rule }) => `"${name}"${rule === null ? '' : ` (${rule})`}`)
  const size = prompts.prompts === null ? '' : `, ${plural(prompts.prompts, 'prompt')}`
  // Prompts from a program have no file.
  const unnamed = prompts.name === null || ['memory', 'standard input'].includes(prompts.name)
  const set = unnamed ? 'The prompt set' : `The prompt set ${prompts.name}`
  return [
    `Query-key subspaces of ${named}${hash(model.sha256)} were found by contrastive covariances of queries and keys ` +
      '(Lee et al., 2026), computed with qkspace.',
    `${set}${hash(prompts.sha256)}${size}, defines the contrast${contrasts.length === 1 ? '' : 's'} ${listed(contrasts)}.`,
  ]
}

/** Descriptions of estimators. An unknown one, of another version, is given by its name alone. */
const ESTIMATORS: Record<string, string> = {
  'per-query': ', under which every term has the same weight',
  'per-pair': ', the mean over all pairs',
  sum: ', sums over pairs divided by the number of terms',
}

function covariances({ estimator, center, prompts }: CitedSettings): string[] {
  const sentences =
    estimator === null ? [] : [`Covariances have the estimator ${estimator}${ESTIMATORS[estimator] ?? ''}.`]
  if (center === false) {
    sentences.push('They were not centred.')
  }
  if (center === true) {
    const rules = prompts.contrasts.map(({ rule }) => rule)
    const each = 'C+ and C- were centred, each by the product of its mean query and its mean key'
    const pooled = 'by the means that both sides share for the counterfactual ones'
    sentences.push(rules.includes('counterfactual') ? `${each}, and ${pooled}.` : `${each}.`)
  }
  return sentences
}

function ranks({ rank, test }: CitedSettings): string[] {
  if (rank?.rule === 'energy') {
    return [
      `The rank of each head and contrast is the smallest that holds ${percent(rank.threshold)} of ||ΔC||_F^2; ` +
        'this rule describes the spectrum and does not test it against chance.',
    ]
  }
  if (rank?.rule === 'fixed') {
    return [`The rank of each head and contrast was set to ${rank.rank}; it was not tested against chance.`]
  }
  if (rank === null || test === null) {
    return []
  }
  return [tested(test, rank.alpha), ...correction(test, rank.alpha), ...replication(test, rank.alpha)]
}

const percent = (fraction: number) => `${Number((100 * fraction).toPrecision(6))}%`

const HYPOTHESES: Record<string, string> = {
  effect: 'effect (any difference ΔC between positive and negative pairs)',
  interaction: 'interaction (a difference ΔC that depends on both the query and the key)',
}

function tested({ hypothesis, draws, units, tested: count }: CitedTest, alpha: number | undefined): string {
  const of = hypothesis === null ? '' : ` of the hypothesis ${HYPOTHESES[hypothesis] ?? hypothesis}`
  const level = alpha === undefined ? '' : ` at the level ${alpha}`
  const exchanged = Object.entries(units).map(([contrast, n]) => `${plural(n, 'unit')} for "${contrast}"`)
  const each =
    draws === null
      ? ''
      : draws.fewest === draws.most
        ? `, ${plural(draws.most, 'draw')} each`
        : `, ${draws.fewest.toLocaleString('en')} to ${plural(draws.most, 'draw')} each`
  const over = exchanged.length === 0 ? '' : ` (${listed(exchanged)})`
  return (
    `Ranks come from a test${of}${level} by random exchange of units${over}, ` +
    `on ${plural(count, 'pair')} of head and contrast${each}.`
  )
}

function correction(
  { corrected, tested: count, discovered }: CitedTest,
  alpha: number | undefined,
): string[] {
  if (!corrected) {
    return [`${discovered} of ${count} were discovered.`]
  }
  const rate = alpha === undefined ? '' : ` of ${alpha}`
  return [
    `The false discovery rate${rate} over all heads and contrasts was controlled by the Benjamini-Hochberg procedure: ` +
      `${discovered} of ${count} were discovered, and the rank of the others is 0.`,
  ]
}

function replication({ replicated, discovered }: CitedTest, alpha: number | undefined): string[] {
  if (replicated === null) {
    return []
  }
  const level = alpha === undefined ? '' : ` at ${alpha}`
  const half = alpha === undefined ? '' : ` at ${Number((alpha / 2).toPrecision(6))}`
  return [
    `The first component of each pair that passed${level} on one half of the units was tested on the other half, both ways ` +
      `round, by a one-sided test of sign flips with the Benjamini-Hochberg procedure${half}; ` +
      `${replicated} of the ${discovered} discovered were replicated.`,
  ]
}

function roles({ roleRule }: CitedSettings): string[] {
  if (!roleRule) {
    return []
  }
  return [
    `A discovered contrast counts as a role of its head where the positive keys of a query get ${percent(roleRule.attention)} ` +
      `of its attention, and one of them ${roleRule.factor} times as much as a negative key.`,
  ]
}

function computed({ seed, backend, versions }: CitedSettings): string[] {
  const parts = [
    versions.qkspace !== null && `qkspace ${versions.qkspace}`,
    versions.node !== null && `Node ${versions.node}`,
    versions.onnxruntime !== null && `onnxruntime ${versions.onnxruntime}`,
  ].filter((part) => part !== false)
  const set = backend.instructionSet === null ? '' : ` (${backend.instructionSet})`
  return [
    ...(seed === null ? [] : [`All random draws have the seed ${seed}.`]),
    ...(parts.length === 0 && backend.name === null
      ? []
      : [
          `Computed by ${listed([...parts, ...(backend.name === null ? [] : [`the backend ${backend.name}${set}`])])}.`,
        ]),
  ]
}

function lacking({ missing }: CitedSettings): string[] {
  return missing.length === 0 ? [] : [`The file does not say ${listed(missing)}.`]
}

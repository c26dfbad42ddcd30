/** The finding in sentences: said of the numbers, and never stronger than they are. */

import test from 'ava'
import { rankedFindings, standingOf } from '../../dist/report/finding/evidence.js'
import { findingOf, openingFinding } from '../../dist/report/finding/finding.js'

const tested = (more = {}) => ({
  hypothesis: 'effect',
  p: { effect: 0.0012, interaction: 0.01 },
  q: 0.004,
  discovered: true,
  units: 200,
  draws: 9999,
  replication: { replicated: true, p: 0.001, ratio: 0.8, error: 0.1 },
  ...more,
})

/**
 * A head of a result; other fields as they are given.
 * @param {{ rank?: number, positive?: number, test?: any, [field: string]: any }} [fields]
 */
const head = ({ rank = 3, positive = 0.6, test: own = tested(), ...more } = {}) => ({
  rank,
  totalEnergy: 1,
  scoreGap: 1,
  terms: 200,
  skipped: 0,
  attention: { positive, negative: 0.2, perPositive: positive, perNegative: 0.05 },
  ...(own && { test: own }),
  ...more,
})

/**
 * Of the description of a result what a finding reads.
 * @param {object} heads
 * @param {{ keyNames?: object, rank?: object }} [of]
 * @returns {any}
 */
function resultOf(heads, { keyNames, rank = { rule: 'permutation', alpha: 0.05 } } = {}) {
  return {
    model: { path: 'folder/model.onnx' },
    prompts: {
      sha256: 'fitted',
      contrasts: ['order'],
      definitions: {
        order: { rule: 'terms', prompts: 200, example: { rule: { ...(keyNames && { keyNames }) } } },
      },
    },
    sites: [
      { layer: 0, headDim: 16 },
      { layer: 1, headDim: 32 },
    ],
    rank,
    heads: Object.fromEntries(Object.entries(heads).map(([name, own]) => [name, { order: own }])),
  }
}

const moved = (mean, more = {}) => ({
  origin: { before: { mean: 0.6 }, after: { mean: 0.1 } },
  target: { before: { mean: 0.05 }, after: { mean: 0.5 } },
  moved: mean === null ? null : { mean, low: mean - 0.01, high: mean + 0.01 },
  flipRate: { mean: 0.5, low: 0.4, high: 0.6 },
  ...more,
})

/**
 * Of a report of edits what a finding reads.
 * @param {{ mean?: number, nulls?: any, exceeds?: boolean, sha256?: string, name?: string }} [of]
 * @returns {any}
 */
function editsOf({
  mean = 0.9,
  nulls = { mean: 0.4, p95: 0.5 },
  exceeds = true,
  sha256 = 'others',
  name = 'L1H0',
} = {}) {
  const variant = (kind, value, more = {}) => ({
    name: kind,
    kind,
    features: kind === 'whole' ? [] : ['order'],
    contrasts: ['order'],
    terms: 50,
    ranks: { [name]: 3 },
    draws: kind === 'null' ? 20 : 1,
    vacuous: false,
    heads: { [name]: moved(value, more) },
  })
  return {
    name: 'moves.json',
    model: 'elsewhere/model.onnx',
    prompts: { sha256, prompts: 50, source: 'new.jsonl' },
    heads: [name],
    edit: 'swap',
    side: 'key',
    seed: 0,
    variants: [
      variant('features', mean, { exceedsNull: nulls ? { moved: mean === null ? null : exceeds } : null }),
      ...(nulls ? [variant('null', nulls.mean, { p95: { moved: nulls.p95 } })] : []),
      variant('keys', 0.85),
      variant('random', 0.1),
      variant('whole', 0.95),
    ],
  }
}

const keyNames = { positive: 'the answer’s box', negative: 'another box' }

test('a replicated head: attention, edit beside its controls, and how sure that is', (t) => {
  const result = resultOf({ L1H0: head() }, { keyNames })
  const { standing, sentences } = findingOf(result, [editsOf()], 'L1H0', 'order')
  t.is(standing, 'replicated')
  t.deepEqual(sentences, [
    'L1H0 puts 60% of its attention on the answer’s box, and 5.0% on another box.',
    'Exchanging 3 of its 32 dimensions moves 90% of that attention to another box on 50 new prompts; subspaces of random labels move 40% (95th percentile 50%), the 3 directions in which keys differ most 85% and random dimensions 10%.',
    'Random labels hardly give such a subspace (p = 0.0012 over 200 prompts, q = 0.004 after correction for 1 test), and it replicated: what one half of the prompts shows has 80% of its strength in the other half.',
  ])
})

test('an edit that does no more than null subspaces is no evidence, and is called so', (t) => {
  const result = resultOf({ L1H0: head() })
  const { sentences } = findingOf(
    result,
    [editsOf({ nulls: { mean: 0.85, p95: 0.93 }, exceeds: false })],
    'L1H0',
    'order',
  )
  t.regex(
    sentences[1],
    /random labels move 85% \(95th percentile 93%\).*That is no more than random labels do: these dimensions are not shown to matter\.$/,
  )
})

test('without null subspaces nothing is claimed; of the prompts that it was fitted on, that is said', (t) => {
  const result = resultOf({ L1H0: head() })
  const { sentences } = findingOf(result, [editsOf({ nulls: null, sha256: 'fitted' })], 'L1H0', 'order')
  t.regex(sentences[1], /on 50 prompts that it was fitted on; no null subspaces were measured/)
  t.regex(sentences[1], /Without enough null subspaces this is no evidence\.$/)
})

test('nothing is divided by nothing', (t) => {
  const result = resultOf({ L1H0: head({ positive: 0.01 }) })
  const edits = editsOf({ mean: null })
  edits.variants[0].heads.L1H0.origin.before.mean = 0.01
  const { sentences } = findingOf(result, [edits], 'L1H0', 'order')
  t.is(
    sentences[1],
    'There is nothing to move: the key to be edited has 1.0% of the attention on 50 new prompts.',
  )
})

test('another model’s edits are not those of this result', (t) => {
  const result = resultOf({ L1H0: head() })
  const { edits } = findingOf(result, [{ ...editsOf(), model: 'other.onnx' }], 'L1H0', 'order')
  t.is(edits, undefined)
})

test('significant is not replicated, unresolved is not significant, untested is neither', (t) => {
  const say = (own, rank) => findingOf(resultOf({ L1H0: head({ test: own }) }, { rank }), [], 'L1H0', 'order')
  const once = say(tested({ replication: { replicated: false, p: 0.2, ratio: 0.3, error: 0.4 } }))
  t.is(once.standing, 'discovered')
  t.regex(once.sentences.at(-1), /but it did not replicate between halves of the prompts\.$/)
  const open = say(tested({ discovered: false, unresolvedNeeds: 20000, q: 0.2 }))
  t.is(open.standing, 'unresolved')
  t.regex(open.sentences.at(-1), /^Unresolved \(p = .*\): 20000 draws would be needed to decide\.$/)
  const bare = say(null, { rule: 'energy', threshold: 0.99 })
  t.is(bare.standing, 'untested')
  t.is(
    bare.sentences.at(-1),
    'Nothing was tested: the rank 3 comes from the rule “energy”, which random labels pass too.',
  )
  t.notRegex(bare.sentences.join(' '), /hardly|replicated/)
})

test('where nothing is significant, that comes first, with the least p; no edit is told', (t) => {
  const not = (p, q) =>
    head({
      rank: 0,
      test: tested({ discovered: false, p: { effect: p, interaction: p }, q, replication: null }),
    })
  const result = resultOf({ L1H0: not(0.3, 0.6), L1H1: not(0.1, 0.4) })
  const opening = openingFinding(result, [editsOf()])
  t.is(opening.head, 'L1H1', 'the least p')
  t.is(opening.standing, 'not significant')
  t.deepEqual(opening.sentences, [
    'No head is shown to read “order”: with random labels the strongest of 2 heads does as well.',
    'The least p is 0.1, of L1H1; corrected for all heads and contrasts that is q = 0.4, where 0.05 would be needed.',
    'L1H1 puts 60% of its attention on the positive keys of “order”, and 5.0% on a negative key.',
  ])
  const other = findingOf(result, [], 'L1H0', 'order')
  t.regex(other.sentences[1], /L1H0 has p = 0\.3\.$/)
})

test('a head that is not discovered beside one that is', (t) => {
  const result = resultOf({
    L1H0: head(),
    L1H1: head({
      rank: 0,
      test: tested({ discovered: false, p: { effect: 0.4, interaction: 0.5 }, q: 0.7, replication: null }),
    }),
  })
  const { sentences } = findingOf(result, [], 'L1H1', 'order')
  t.is(sentences[0], 'L1H1 is not shown to read “order”: random labels do as well (p = 0.4, q = 0.7).')
  t.is(sentences.length, 2)
})

test('findings are ranked by evidence before attention, and attention before the size of gaps', (t) => {
  const result = resultOf({
    L0H0: head({ positive: 0.99, test: tested({ discovered: false, p: { effect: 0.2, interaction: 0.3 } }) }),
    L0H1: head({ positive: 0.007, scoreGap: 9 }),
    L1H0: head({ positive: 0.106, scoreGap: 0.5 }),
    L1H1: head({ positive: 0.9, test: tested({ replication: null }) }),
  })
  t.deepEqual(
    rankedFindings(result, []).map((own) => own.head),
    ['L1H0', 'L0H1', 'L1H1', 'L0H0'],
  )
  const byEdits = rankedFindings(result, [editsOf({ name: 'L0H1' })])
  t.is(byEdits[0].head, 'L0H1', 'what moves more than its null comes before what was not edited')
  t.is(standingOf(result.heads.L0H0.order), 'not significant')
})

test('what a sweep held out stands in the place of edits', (t) => {
  const controlled = (value) => ({
    value,
    null: { mean: 0.5, p95: 0.6, draws: 20 },
    keyComponents: 0.7,
    meanQuery: 0,
    random: 0.1,
    whole: 0.99,
    exceedsNull: true,
  })
  const heldOut = {
    units: 80,
    terms: 80,
    explained: null,
    swap: { origin: 0.6, moved: controlled(0.8), deltaP: null },
  }
  const { sentences, edits } = findingOf(resultOf({ L1H0: head({ heldOut }) }), [], 'L1H0', 'order')
  t.is(edits.moved.whole, 0.99)
  t.regex(
    sentences[1],
    /moves 80% .* on the half of the prompts that did not fit them, both ways round \(80 prompts\); subspaces of random labels move 50%/,
  )
})

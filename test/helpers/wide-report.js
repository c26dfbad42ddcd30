/**
 * The document of a report of a large model: every head of every layer under several contrasts, stored prompts with
 * their attention, split scores. Its numbers are drawn at random, but of the sizes and shapes that real ones have.
 */

import { seededRandom } from '../../dist/math/random.js'

const ALPHABET = [
  'the',
  ' box',
  ' is',
  ' in',
  ' a',
  'Ġthe',
  '▁apple',
  '<s>',
  '\u0007',
  '"&<>',
  ' naïve',
  '漢字',
]

/**
 * `layers` x `heads` x `contrasts`; `prompts` stored prompts of `tokens` tokens.
 * @returns {any} A document with the parts that the page reads.
 */
export function wideDocument({
  layers = 32,
  heads = 32,
  contrasts = 8,
  headDim = 128,
  prompts = 64,
  tokens = 128,
} = {}) {
  const random = seededRandom(7)
  const names = Array.from({ length: contrasts }, (_, c) => `contrast ${c}`)
  const headNames = Array.from({ length: layers * heads }, (_, i) => `L${Math.floor(i / heads)}H${i % heads}`)
  const found = new Map(headNames.map((name, i) => [name, i % 61 === 0]))
  const words = () => Array.from({ length: tokens }, () => random.pick(ALPHABET))
  const definitions = Object.fromEntries(
    names.map((name) => [
      name,
      {
        rule: 'terms',
        prompts: 640,
        terms: 640,
        labelled: { queries: 0, keys: 0 },
        example: { id: 'p0', text: 'text', rule: { contrast: name, counterfactual: false, terms: [] } },
      },
    ]),
  )
  const summary = {
    source: 'prompts.jsonl',
    sha256: 'ab'.repeat(32),
    prompts: 640,
    contrasts: names,
    definitions,
  }
  const rowOf = (query) => {
    const raw = Array.from({ length: tokens }, (_, i) => (i <= query ? random.next() ** 6 : 0))
    const sum = raw.reduce((a, b) => a + b, 0)
    return raw.map((x) => x / sum)
  }
  const explained = (head, whole) => {
    const attention = rowOf(tokens - 1)
    return {
      head,
      attention,
      scores: attention.map((x) => Math.log(x + 1e-6)),
      key: attention.indexOf(Math.max(...attention)),
      ...(whole && {
        pattern: Array.from({ length: tokens }, (_, q) => rowOf(q).map((x) => Number(x.toPrecision(4)))),
        features: names.slice(0, 2).map((contrast) => ({
          contrast,
          rank: 3,
          part: attention.map(() => random.normal()),
          gain: { value: 1, total: 2, nulls: { count: 20, mean: 0.4, p95: 0.8 }, exceedsNull: true },
          swap: {
            origin: 3,
            target: 9,
            after: rowOf(tokens - 1),
            nulls: { count: 20, mean: rowOf(tokens - 1), target: { mean: 0.2, p95: 0.3 } },
            random: { count: 5, mean: rowOf(tokens - 1) },
            whole: rowOf(tokens - 1),
          },
        })),
        rest: attention.map(() => random.normal()),
      }),
    }
  }
  const wholes = headNames.filter((name) => found.get(name)).slice(0, 6)
  return {
    format: 'qkspace-report',
    formatVersion: 2,
    versions: { qkspace: '0.0.0' },
    results: [
      {
        format: 'qkspace-result',
        formatVersion: 1,
        name: 'wide.safetensors',
        model: { path: 'wide.onnx', sha256: 'cd'.repeat(32), files: [] },
        prompts: summary,
        estimator: 'per-query',
        center: false,
        rank: { rule: 'permutation', alpha: 0.05 },
        seed: 0,
        backend: { name: 'cpu', instructionSet: 'avx2' },
        versions: { qkspace: '0.0.0' },
        sites: Array.from({ length: layers }, (_, layer) => ({
          layer,
          heads,
          kvHeads: heads,
          headDim,
          scale: 0.1,
          hooks: { q: `blocks.${layer}.attn.hook_rot_q`, k: `blocks.${layer}.attn.hook_rot_k` },
          relativeError: 1e-6,
        })),
        heads: Object.fromEntries(
          headNames.map((head) => [
            head,
            Object.fromEntries(names.map((name) => [name, headInfo(random, found.get(head), headDim)])),
          ]),
        ),
      },
    ],
    attributions: [
      {
        name: 'attribution.json',
        model: 'wide.onnx',
        prompts: summary,
        rows: prompts,
        features: names.slice(0, 2),
        method: 'shapley',
        sides: 'query',
        keys: 'all',
        centered: true,
        seed: 0,
        heads: {},
        examples: Array.from({ length: prompts }, (_, p) => ({
          where: `prompts.jsonl:${p + 1}`,
          words: words(),
          rows: wholes.slice(0, 2).map((head) => ({
            head,
            contrast: names[0],
            query: tokens - 1,
            total: rowOf(tokens - 1),
            parts: Object.fromEntries(names.slice(0, 2).map((name) => [name, rowOf(tokens - 1)])),
            rest: rowOf(tokens - 1),
            explained: null,
          })),
        })),
      },
    ],
    interventions: [],
    explanations: [
      {
        name: 'explanation.json',
        model: 'wide.onnx',
        seed: 0,
        prompts: Array.from({ length: 4 }, (_, p) => ({
          where: `prompts.jsonl:${p + 1}`,
          words: words(),
          query: tokens - 1,
          terms: [{ contrast: names[0], query: tokens - 1, positive: [3], negative: [9, 20] }],
          heads: headNames.map((head) => explained(head, wholes.includes(head))),
        })),
      },
    ],
    papers: [],
  }
}

function headInfo(random, discovered, headDim) {
  const u = () => random.next()
  const p = discovered ? 1e-4 * (1 + u()) : Math.max(0.02, u())
  const spectrum = Array.from({ length: headDim }, (_, i) =>
    Number((8 * Math.exp(-i / 6) * (0.9 + 0.2 * u())).toPrecision(5)),
  )
  const positive = discovered ? 0.3 + 0.6 * u() : 0.1 * u() ** 3
  return {
    rank: discovered ? 3 : 0,
    totalEnergy: 100 * u(),
    scoreGap: 6 * u() - 3,
    errorBound: 0.05 * u(),
    converged: true,
    terms: 640,
    skipped: 0,
    attention: { positive, negative: 0.2 * u(), perPositive: positive, perNegative: 0.05 * u() },
    test: {
      hypothesis: 'effect',
      p: { effect: p, interaction: Math.min(1, 2 * p) },
      q: Math.min(1, 20 * p),
      qAnyDependence: Math.min(1, 80 * p),
      pMaximum: Math.min(1, 30 * p),
      discovered,
      statistic: 8 * u(),
      null: { mean: 1 + u(), sd: 0.2 * u(), p95: 2 + u() },
      extrapolatedP: p ** 2,
      draws: 9999,
      units: 640,
      rank: discovered ? 3 : 0,
      unadjustedRank: 3,
      level: 0.03 * u(),
      componentP: [p, p, p, 0.4],
      componentNull: Array.from({ length: 4 }, () => ({ mean: 1 + u(), sd: 0.2 * u(), p95: 2 + u() })),
      blocks: [[0], [1, 2]],
      replication: discovered ? { p, ratio: 0.9, error: 0.05, replicated: u() > 0.3 } : null,
    },
    s: spectrum.slice(0, discovered ? 3 : 0),
    spectrum,
    nulls: 20,
  }
}

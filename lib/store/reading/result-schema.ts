/** Schema of the JSON document of a result, checked before a result is built from it. */

import type { Controlled, HeldOut } from '../held-out.js'
import type { NullValues, RankTest } from '../rank-test.js'
import type { HeadInfo, ResultInfo } from '../result-info.js'
import type { MeanAttention } from '../subspace.js'
import * as s from './schema.js'

const attention = s.fields({
  positive: s.number,
  negative: s.number,
  perPositive: s.number,
  perNegative: s.number,
} satisfies s.Fields<MeanAttention>)

const controlled = s.fields({
  value: s.number,
  null: s.fields({ mean: s.number, p95: s.number, draws: s.count }),
  keyComponents: s.number,
  meanQuery: s.number,
  random: s.number,
  whole: s.number,
  exceedsNull: s.nullable(s.flag),
} satisfies s.Fields<Controlled>)

const heldOut = s.fields({
  units: s.count,
  terms: s.count,
  explained: s.nullable(controlled),
  swap: s.nullable(
    s.fields({ origin: s.number, moved: s.nullable(controlled), deltaP: s.nullable(controlled) }),
  ),
} satisfies s.Fields<HeldOut>)

const nullValues = s.fields({
  mean: s.number,
  sd: s.number,
  p95: s.number,
} satisfies s.Fields<NullValues>)

const test = s.fields({
  hypothesis: s.oneOf('effect', 'interaction'),
  p: s.fields({ effect: s.number, interaction: s.number }),
  q: s.finite,
  qAnyDependence: s.number,
  pMaximum: s.number,
  discovered: s.flag,
  unresolvedNeeds: s.optional(s.number),
  statistic: s.number,
  null: nullValues,
  extrapolatedP: s.number,
  draws: s.count,
  units: s.count,
  rank: s.count,
  unadjustedRank: s.count,
  level: s.number,
  componentP: s.numbers,
  componentNull: s.optional(s.list(nullValues)),
  blocks: s.rows,
  replication: s.nullable(s.fields({ replicated: s.flag, p: s.number, ratio: s.number, error: s.number })),
} satisfies s.Fields<RankTest>)

const head = s.fields({
  rank: s.count,
  totalEnergy: s.number,
  scoreGap: s.number,
  errorBound: s.number,
  converged: s.flag,
  terms: s.count,
  skipped: s.count,
  attention: s.optional(attention),
  heldOut: s.optional(heldOut),
  test: s.optional(test),
} satisfies s.Fields<HeadInfo>)

const site = s.fields({
  layer: s.count,
  kind: s.optional(s.text),
  heads: s.count,
  kvHeads: s.count,
  headDim: s.count,
  scale: s.either('a number or a text', s.number, s.text),
  hooks: s.fields({ q: s.text, k: s.text }),
  relativeError: s.number,
})

/** The contrasts of a prompt set, and how they are defined. */
const definitions = s.byName(
  s.fields({
    rule: s.text,
    prompts: s.count,
    terms: s.optional(s.count),
    labelled: s.optional(s.fields({ queries: s.count, keys: s.count })),
    example: s.optional(
      s.fields({
        rule: s.optional(
          s.fields({ keyNames: s.optional(s.fields({ positive: s.text, negative: s.text })) }),
        ),
      }),
    ),
  }),
)

/** The prompt set of a document. */
export const promptSummary = s.fields({
  source: s.text,
  sha256: s.text,
  prompts: s.count,
  contrasts: s.texts,
  definitions,
} satisfies s.Fields<ResultInfo['prompts']>)

const resultInfo = s.fields({
  format: s.oneOf('qkspace-result'),
  formatVersion: s.count,
  model: s.fields({
    path: s.text,
    sha256: s.text,
    files: s.list(s.fields({ name: s.text, sha256: s.text })),
    hub: s.optional(s.fields({ repo: s.text, revision: s.text, commit: s.text, file: s.text })),
  } satisfies s.Fields<ResultInfo['model']>),
  prompts: promptSummary,
  estimator: s.text,
  sharing: s.optional(s.text),
  center: s.flag,
  rank: s.variants(
    'rule',
    [
      s.fields({
        rule: s.oneOf('permutation'),
        alpha: s.optional(s.finite),
        draws: s.optional(s.count),
        mostDraws: s.optional(s.count),
      }),
      s.fields({ rule: s.oneOf('energy'), threshold: s.finite }),
      s.fields({ rule: s.oneOf('fixed'), rank: s.count }),
    ],
    'the name of a rank rule',
  ),
  seed: s.number,
  backend: s.fields({ name: s.text, instructionSet: s.text }),
  versions: s.byName(s.text),
  sites: s.list(site),
  warnings: s.optional(s.texts),
  heads: s.byName(s.byName(head)),
} satisfies s.Fields<ResultInfo>)

/**
 * Checks the document of a result: its fields, that every head has every contrast, and that every head belongs to a
 * captured site. Errors: ERR_FORMAT.
 */
export function checkResultInfo(file: string, value: unknown): ResultInfo {
  const misfit = s.misfitOf(
    `${file}: metadata`,
    'The file is damaged, or not as qkspace wrote it: decompose again.',
  )
  s.checkDocument(resultInfo, value, misfit)
  const info = value as ResultInfo
  const { contrasts } = info.prompts
  for (const [head, own] of Object.entries(info.heads)) {
    const missing = contrasts.find((name) => !Object.hasOwn(own, name))
    if (missing !== undefined) {
      throw misfit(`heads.${head}`, `has no contrast "${missing}", which the prompts have`)
    }
    const unknown = Object.keys(own).find((name) => !contrasts.includes(name))
    if (unknown !== undefined) {
      throw misfit(`heads.${head}`, `has a contrast "${unknown}", which the prompts do not have`)
    }
  }
  return info
}

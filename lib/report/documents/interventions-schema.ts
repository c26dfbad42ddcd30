/** What `qkspace intervene --out` writes. */

import type { Turn } from '../../backend/cooperate.js'
import type { HeadMove, InterventionVariant, OutputChange } from '../../intervention/edit-report.js'
import type { InterventionReport } from '../../intervention/intervene.js'
import { promptSummary } from '../../store/reading/result-schema.js'
import * as s from '../../store/reading/schema.js'

const beforeAfter = s.fields({ before: s.estimate, after: s.estimate })
const percentiles = s.optional(s.byName(s.number))
const exceeds = s.optional(s.nullable(s.byName(s.nullable(s.flag))))

const move = s.fields({
  origin: beforeAfter,
  target: s.optional(beforeAfter),
  moved: s.optional(s.nullable(s.estimate)),
  deltaP: s.optional(s.estimate),
  flipRate: s.optional(s.estimate),
  p95: percentiles,
  exceedsNull: exceeds,
} satisfies s.Fields<HeadMove>)

const output = s.fields({
  answerLogProb: s.optional(beforeAfter),
  targetLogProb: s.optional(beforeAfter),
  accuracy: s.optional(beforeAfter),
  targetRate: s.optional(beforeAfter),
  kl: s.estimate,
  p95: percentiles,
  exceedsNull: exceeds,
} satisfies s.Fields<OutputChange>)

const variant = s.fields({
  name: s.text,
  kind: s.oneOf('features', 'null', 'keys', 'mean query', 'random', 'complement', 'whole'),
  features: s.texts,
  contrasts: s.texts,
  terms: s.count,
  ranks: s.byName(s.count),
  draws: s.count,
  vacuous: s.flag,
  heads: s.byName(move),
  output: s.optional(output),
} satisfies s.Fields<InterventionVariant>)

const document = s.fields({
  model: s.text,
  prompts: promptSummary,
  terms: s.count,
  heads: s.texts,
  edit: s.text,
  side: s.oneOf('key', 'query'),
  rows: s.oneOf('query', 'all'),
  strength: s.number,
  seed: s.number,
  variants: s.list(variant),
  noNull: s.optional(s.text),
  warnings: s.optional(s.texts),
} satisfies s.Fields<InterventionReport>)

/** Checks the fields of the document, and that every edit has its heads. Errors: ERR_FORMAT. */
export async function checkInterventions(
  value: unknown,
  misfit: s.Misfit,
  turn: Turn,
): Promise<InterventionReport> {
  await s.checkInParts(document, value, misfit, turn)
  const report = value as InterventionReport
  for (const [i, { heads, ranks }] of report.variants.entries()) {
    for (const head of Object.keys(heads)) {
      if (!report.heads.includes(head)) {
        throw misfit(`variants.${i}.heads`, `has ${head}, which is none of the heads of the document`)
      }
      if (!Object.hasOwn(ranks, head)) {
        throw misfit(`variants.${i}.ranks`, `has no rank of ${head}`)
      }
    }
  }
  return report
}

/** What `qkspace explain --out` writes. */

import type { Turn } from '../../backend/cooperate.js'
import type {
  ExplainedFeature,
  ExplainedHead,
  ExplainedPrompt,
  ExplainedTerm,
  ExplanationReport,
  FeatureGain,
  FeatureSwap,
} from '../../explanation/report.js'
import * as s from '../../store/reading/schema.js'
import { counted } from '../../validate.js'
import { nullFigures } from './null-figures.js'

const swap = s.fields({
  origin: s.count,
  target: s.count,
  after: s.numbers,
  nulls: s.nullable(
    s.fields({ count: s.count, mean: s.numbers, target: s.fields({ mean: s.number, p95: s.number }) }),
  ),
  random: s.fields({ count: s.count, mean: s.numbers }),
  whole: s.numbers,
} satisfies s.Fields<FeatureSwap>)

const gain = s.fields({
  value: s.number,
  total: s.number,
  nulls: s.nullable(nullFigures),
  exceedsNull: s.nullable(s.flag),
} satisfies s.Fields<FeatureGain>)

const feature = s.fields({
  contrast: s.text,
  rank: s.count,
  part: s.numbers,
  gain,
  swap: s.optional(swap),
} satisfies s.Fields<ExplainedFeature>)

const head = s.fields({
  head: s.text,
  attention: s.numbers,
  scores: s.numbers,
  pattern: s.optional(s.rows),
  key: s.count,
  features: s.optional(s.list(feature)),
  rest: s.optional(s.numbers),
} satisfies s.Fields<ExplainedHead>)

const term = s.fields({
  contrast: s.text,
  query: s.count,
  positive: s.counts,
  negative: s.counts,
} satisfies s.Fields<ExplainedTerm>)

const prompt = s.fields({
  where: s.text,
  tokens: s.optional(s.counts),
  words: s.texts,
  query: s.count,
  terms: s.list(term),
  heads: s.list(head),
} satisfies s.Fields<ExplainedPrompt>)

const document = s.fields({
  model: s.text,
  seed: s.number,
  prompts: s.list(prompt),
  noNull: s.optional(s.text),
  warnings: s.optional(s.texts),
} satisfies s.Fields<ExplanationReport>)

/** Checks the fields of the document, and that its rows and positions fit the tokens. Errors: ERR_FORMAT. */
export async function checkExplanation(
  value: unknown,
  misfit: s.Misfit,
  turn: Turn,
): Promise<ExplanationReport> {
  await s.checkInParts(document, value, misfit, turn)
  const report = value as ExplanationReport
  for (const [p, one] of report.prompts.entries()) {
    const place = `prompts.${p}`
    const inside = insideOf(one.words.length, misfit)
    inside([one.query], `${place}.query`)
    for (const [t, { query, positive, negative }] of one.terms.entries()) {
      inside([query, ...positive, ...negative], `${place}.terms.${t}`)
    }
    for (const [h, own] of one.heads.entries()) {
      checkHead(own, one.words.length, `${place}.heads.${h}`, misfit)
    }
  }
  return report
}

/** Checks that positions are below the number of tokens. */
function insideOf(tokens: number, misfit: s.Misfit) {
  return (positions: readonly number[], place: string): void => {
    const outside = positions.find((position) => position >= tokens)
    if (outside !== undefined) {
      throw misfit(place, `names the token ${outside} of a prompt of ${counted(tokens, 'token')}`)
    }
  }
}

function checkHead(
  { attention, scores, pattern, key, features = [], rest }: ExplainedHead,
  tokens: number,
  place: string,
  misfit: s.Misfit,
): void {
  const row = (values: readonly unknown[] | undefined, name: string) => {
    if (values) {
      s.checkLength(values, tokens, `${place}.${name}`, misfit)
    }
  }
  insideOf(tokens, misfit)([key], `${place}.key`)
  row(attention, 'attention')
  row(rest, 'rest')
  row(pattern, 'pattern')
  // Trimmed documents have no scores.
  if (scores.length > 0) {
    row(scores, 'scores')
  }
  for (const [f, { part, swap: exchanged }] of features.entries()) {
    row(part, `features.${f}.part`)
    if (exchanged) {
      const { origin, target, after, nulls, random, whole } = exchanged
      insideOf(tokens, misfit)([origin, target], `${place}.features.${f}.swap`)
      row(after, `features.${f}.swap.after`)
      row(whole, `features.${f}.swap.whole`)
      row(nulls?.mean, `features.${f}.swap.nulls.mean`)
      row(random.count > 0 ? random.mean : undefined, `features.${f}.swap.random.mean`)
    }
  }
}

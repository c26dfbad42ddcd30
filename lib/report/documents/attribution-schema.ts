/** What `qkspace attribute --out` writes. */

import type { AttributionReport } from '../../attribution/attribute.js'
import type { ComponentTokens, Extreme, ReadToken } from '../../attribution/components/component-tokens.js'
import type { AttributedPrompt, AttributedRow } from '../../attribution/examples.js'
import type { ContrastExplained, Explained, ExplainedControls, Share } from '../../attribution/explained.js'
import type { LabelSeparation, PointCloud, PointToken } from '../../attribution/points.js'
import type { Turn } from '../../backend/cooperate.js'
import { promptSummary } from '../../store/reading/result-schema.js'
import * as s from '../../store/reading/schema.js'
import { counted } from '../../validate.js'
import { nullFigures } from './null-figures.js'

const explained = {
  rank: s.count,
  mean: s.estimate,
  energy: s.estimate,
  controls: s.fields({
    nulls: s.nullable(nullFigures),
    keys: s.number,
    meanQuery: s.number,
    random: s.nullable(s.fields({ count: s.count, mean: s.number })),
  } satisfies s.Fields<ExplainedControls>),
  exceedsNull: s.nullable(s.flag),
} satisfies s.Fields<Explained>

const share = s.fields({
  mean: s.number,
  low: s.number,
  high: s.number,
  nulls: s.nullable(nullFigures),
  exceedsNull: s.nullable(s.flag),
} satisfies s.Fields<Share>)

const contrast = s.fields({
  ...explained,
  rows: s.count,
  own: s.nullable(s.fields(explained)),
  share: s.byName(share),
} satisfies s.Fields<ContrastExplained>)

const row = s.fields({
  head: s.text,
  contrast: s.text,
  query: s.count,
  total: s.numbers,
  parts: s.byName(s.numbers),
  table: s.optional(s.fields({ names: s.texts, parts: s.list(s.rows) })),
  rest: s.numbers,
  explained: s.number,
} satisfies s.Fields<AttributedRow>)

const example = s.fields({
  where: s.text,
  tokens: s.optional(s.counts),
  words: s.optional(s.texts),
  rows: s.list(row),
} satisfies s.Fields<AttributedPrompt>)

const separation = s.fields({
  value: s.number,
  nulls: s.nullable(nullFigures),
  exceedsNull: s.nullable(s.flag),
} satisfies s.Fields<LabelSeparation>)

const pointToken = s.fields({
  where: s.text,
  position: s.count,
  token: s.text,
  before: s.text,
  after: s.text,
} satisfies s.Fields<PointToken>)

const cloud = s.fields({
  labels: s.list(s.nullable(s.text)),
  roles: s.list(s.oneOf('positive', 'negative')),
  tokens: s.optional(s.list(pointToken)),
  heads: s.byName(
    s.fields({
      rank: s.count,
      shares: s.numbers,
      coordinates: s.numbers,
      separation: s.optional(separation),
    }),
  ),
} satisfies s.Fields<PointCloud>)

const extremes = s.list(
  s.fields({
    where: s.text,
    prompt: s.count,
    position: s.count,
    token: s.text,
    before: s.text,
    after: s.text,
    value: s.number,
    label: s.nullable(s.text),
    role: s.nullable(s.oneOf('positive', 'negative')),
  } satisfies s.Fields<Extreme>),
)

const readTokens = s.list(s.fields({ token: s.text, value: s.number } satisfies s.Fields<ReadToken>))
const reads = s.optional(s.fields({ top: readTokens, bottom: readTokens }))

const component = s.fields({
  component: s.count,
  block: s.counts,
  top: extremes,
  bottom: extremes,
  null: s.optional(s.fields({ top: extremes, bottom: extremes, reads })),
  reads,
} satisfies s.Fields<ComponentTokens>)

const componentsByHead = s.byName(s.list(component))

const document = s.fields({
  model: s.text,
  prompts: promptSummary,
  rows: s.count,
  features: s.texts,
  method: s.text,
  order: s.optional(s.texts),
  sides: s.oneOf('query', 'key', 'both'),
  keys: s.oneOf('term', 'all'),
  centered: s.flag,
  seed: s.number,
  heads: s.byName(s.fields({ contrasts: s.byName(contrast) })),
  examples: s.list(example),
  noNull: s.optional(s.text),
  points: s.optional(s.byName(s.fields({ query: cloud, key: cloud }))),
  components: s.optional(s.byName(s.fields({ query: componentsByHead, key: componentsByHead }))),
  readsThrough: s.optional(s.byName(s.text)),
  readsUnavailable: s.optional(s.byName(s.text)),
  warnings: s.optional(s.texts),
} satisfies s.Fields<AttributionReport>)

/**
 * Checks the fields of the document, and that its parts have the same heads, contrasts and features. Errors:
 * ERR_FORMAT.
 */
export async function checkAttribution(
  value: unknown,
  misfit: s.Misfit,
  turn: Turn,
): Promise<AttributionReport> {
  await s.checkInParts(document, value, misfit, turn)
  const report = value as AttributionReport
  const { heads, features } = report
  for (const [head, { contrasts }] of Object.entries(heads)) {
    for (const [name, { share: shares }] of Object.entries(contrasts)) {
      checkFeatures(Object.keys(shares), features, `heads.${head}.contrasts.${name}.share`, misfit)
    }
  }
  for (const [e, { words, rows }] of report.examples.entries()) {
    for (const [r, one] of rows.entries()) {
      checkRow(report, one, words, `examples.${e}.rows.${r}`, misfit)
    }
  }
  for (const [feature, sides] of Object.entries(report.points ?? {})) {
    checkCloud(sides.query, `points.${feature}.query`, misfit)
    checkCloud(sides.key, `points.${feature}.key`, misfit)
  }
  return report
}

function checkFeatures(
  found: readonly string[],
  features: readonly string[],
  place: string,
  misfit: s.Misfit,
): void {
  const missing = features.find((name) => !found.includes(name))
  if (missing !== undefined) {
    throw misfit(place, `has no "${missing}", which is one of the features`)
  }
}

function checkRow(
  { heads, features }: AttributionReport,
  { head, contrast: terms, query, total, parts, rest }: AttributedRow,
  words: readonly string[] | undefined,
  place: string,
  misfit: s.Misfit,
): void {
  if (!Object.hasOwn(heads, head)) {
    throw misfit(`${place}.head`, `is "${head}", which is none of the heads of the document`)
  }
  if (!Object.hasOwn(heads[head].contrasts, terms)) {
    throw misfit(`${place}.contrast`, `is "${terms}", which is none of the contrasts of ${head}`)
  }
  checkFeatures(Object.keys(parts), features, `${place}.parts`, misfit)
  for (const [name, part] of Object.entries(parts)) {
    s.checkLength(part, total.length, `${place}.parts.${name}`, misfit)
  }
  s.checkLength(rest, total.length, `${place}.rest`, misfit)
  if (words && (total.length > words.length || query >= words.length)) {
    throw misfit(place, `reaches beyond the ${counted(words.length, 'token')} of its prompt`)
  }
}

function checkCloud({ labels, roles, tokens, heads }: PointCloud, place: string, misfit: s.Misfit): void {
  s.checkLength(roles, labels.length, `${place}.roles`, misfit)
  if (tokens) {
    s.checkLength(tokens, labels.length, `${place}.tokens`, misfit)
  }
  for (const [head, { shares, coordinates }] of Object.entries(heads)) {
    s.checkLength(coordinates, labels.length * shares.length, `${place}.heads.${head}.coordinates`, misfit)
  }
}

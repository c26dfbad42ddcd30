/** An explanation in words, for a terminal. */

import type {
  ExplainedFeature,
  ExplainedHead,
  ExplainedPrompt,
  ExplanationReport,
  FeatureSwap,
} from '../../explanation/report.js'
import { exceedsNull } from '../../math/null-limit.js'
import { counted } from '../../validate.js'
import { fixed, printLine, printTable } from '../common/output.js'

/** Most heads that are listed by their attention. */
const LISTED_HEADS = 8
/** Most heads whose features are described, and most features of a head. The document has all of them. */
const TOLD_HEADS = 3
const TOLD_FEATURES = 6
/** Most characters of the prompt before the query. */
const SHOWN_TEXT = 160

/** `prompts` is the prompt set that was given, if any. */
export function printExplanation(
  { model, prompts, noNull }: ExplanationReport,
  { result, prompts: set }: { result: boolean; prompts?: string },
): void {
  prompts.forEach((prompt, i) => {
    if (i > 0) {
      printLine()
    }
    printPrompt(prompt)
  })
  if (result && prompts.every(({ heads }) => heads.every(({ features }) => !features))) {
    printLine('\nThe result has no discovered feature in these heads.')
  }
  if (!result) {
    printLine(
      `\nWhat the scores are made of is told by features: ` +
        `qkspace decompose --model ${model} --prompts ${set ?? 'SET.jsonl'} --out R.safetensors finds them; ` +
        'then add --result R.safetensors.',
    )
  }
  if (noNull) {
    printLine(`\n${noNull}`)
  }
}

function printPrompt(prompt: ExplainedPrompt): void {
  const { where, words, query, heads } = prompt
  const before = words.slice(0, query + 1).join(' ')
  const shown = before.length > SHOWN_TEXT ? `… ${before.slice(-SHOWN_TEXT)}` : before
  printLine(`${where}: ${shown}`)
  printLine(`\n${tokenAt(prompt, query)} attends most to:`)
  printTable(
    ['head', 'attention', 'token'],
    heads
      .slice(0, LISTED_HEADS)
      .map(({ head, attention, key }) => [head, percent(attention[key]), tokenAt(prompt, key)]),
  )
  if (heads.length > LISTED_HEADS) {
    printLine(`and ${counted(heads.length - LISTED_HEADS, 'head')} more, in --out and --json`)
  }
  const exchanged = heads.filter(({ features }) => features?.some(({ swap }) => swap))
  const others = heads.slice(0, LISTED_HEADS).filter((head) => head.features && !exchanged.includes(head))
  const told = [...exchanged, ...others].sort((a, b) => b.attention[b.key] - a.attention[a.key])
  for (const head of told.slice(0, TOLD_HEADS)) {
    printHead(prompt, head)
  }
  if (told.length > TOLD_HEADS) {
    printLine(
      `\nfeatures of ${counted(told.length - TOLD_HEADS, 'head')} more: --head names them, --out and --json hold all`,
    )
  }
}

/** Prints the contributions of features to the attention of a head, and the effect of exchanging them. */
function printHead(
  prompt: ExplainedPrompt,
  { head, attention, key, features: all = [] }: ExplainedHead,
): void {
  const features = [...all].sort((a, b) => b.gain.value - a.gain.value).slice(0, TOLD_FEATURES)
  const [{ gain }] = features
  printLine(
    `\n${head} gives ${percent(attention[key])} to ${tokenAt(prompt, key)}: a score of ${fixed(gain.total, 2)} above ` +
      'the mean of the tokens that the query sees. The features make up:',
  )
  printTable(
    ['feature', 'rank', 'part', 'null mean', 'null 95%', ''],
    features.map((feature) => [feature.contrast, `${feature.rank}`, ...gainCells(feature)]),
  )
  if (all.length > features.length) {
    printLine(`and ${all.length - features.length} features more, in --out and --json`)
  }
  const swaps = features.filter(({ swap }) => swap)
  if (swaps.length === 0) {
    return
  }
  printLine('Exchanging a feature of two tokens changes the attention on them:')
  printTable(
    [
      'feature',
      'first',
      'before',
      'after',
      'second',
      'before',
      'after',
      'null mean',
      'null 95%',
      'random',
      'whole',
      '',
    ],
    swaps.map(({ contrast, swap }) => [contrast, ...swapCells(prompt, attention, swap!)]),
  )
}

function gainCells({ gain: { value, nulls, exceedsNull: exceeds } }: ExplainedFeature): string[] {
  if (!nulls) {
    return [fixed(value, 2), 'no null', 'no null', '']
  }
  return [fixed(value, 2), fixed(nulls.mean, 2), fixed(nulls.p95, 2), exceeds === false ? 'within null' : '']
}

/** Attention on the second token after exchanging null subspaces, random subspaces and whole keys. */
function swapCells(prompt: ExplainedPrompt, before: readonly number[], swap: FeatureSwap): string[] {
  const { origin, target, after, nulls, random, whole } = swap
  const exceeds = nulls && exceedsNull(after[target], nulls.target.p95, nulls.count)
  return [
    tokenAt(prompt, origin),
    percent(before[origin]),
    percent(after[origin]),
    tokenAt(prompt, target),
    percent(before[target]),
    percent(after[target]),
    ...(nulls ? [percent(nulls.target.mean), percent(nulls.target.p95)] : ['no null', 'no null']),
    random.count > 0 ? percent(random.mean[target]) : '-',
    percent(whole[target]),
    exceeds === false ? 'within null' : '',
  ]
}

/** As in 6 "Box". */
function tokenAt({ words }: ExplainedPrompt, position: number): string {
  return `${position} ${JSON.stringify(words[position])}`
}

const percent = (x: number) => `${fixed(100 * x, 1)}%`

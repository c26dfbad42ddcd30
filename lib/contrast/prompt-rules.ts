/** Checks every prompt, and arranges its terms and labels by contrast. */

import { QkError } from '../errors.js'
import type { KnownKeys } from '../validate.js'
import { counted } from '../validate.js'
import { checkSource, type Fail, isObject } from './check-source.js'
import type {
  ContrastRule,
  Counterfactual,
  KeyNames,
  Labels,
  PairedTerm,
  Prompt,
  Term,
  TermRule,
} from './prompt.js'

/** Allowed names. They become parts of tensor names in result files. */
const NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_ -]*$/u

/** Whether a contrast may have this name: letters, digits, spaces, "-" and "_". */
export function isContrastName(name: string): boolean {
  // In an object, a field of this name would set the prototype.
  return NAME.test(name) && name !== '__proto__'
}

/**
 * Checks a prompt and arranges its rules by contrast. `where` (file and line, or an index) starts every message. A
 * `bare` prompt may have no contrast. Errors: ERR_PROMPT, ERR_EMPTY_SET.
 */
export function promptRules(prompt: Prompt, where: string, bare = false): TermRule[] {
  const fail = (message: string, hint?: string): never => {
    throw new QkError('ERR_PROMPT', `${where}: ${message}`, { hint })
  }
  if (!isObject(prompt)) {
    fail('a prompt is an object')
  }
  checkKeys(prompt, PROMPT_KEYS, 'a prompt', fail)
  checkSource(prompt, fail)
  for (const key of ['id', 'group'] as const) {
    if (prompt[key] !== undefined && typeof prompt[key] !== 'string') {
      fail(`"${key}" is a text`)
    }
  }
  if (prompt.answer !== undefined && !['string', 'number'].includes(typeof prompt.answer)) {
    fail('"answer" is a text, or a token id or class')
  }
  if (prompt.counterfactual !== undefined) {
    const failOther: Fail = (message, hint) => fail(`counterfactual: ${message}`, hint)
    if (!isObject(prompt.counterfactual)) {
      failOther('it is an object')
    }
    checkKeys(prompt.counterfactual, COUNTERFACTUAL_KEYS, 'a counterfactual', failOther)
    checkSource(prompt.counterfactual, failOther)
    const { contrasts } = prompt.counterfactual
    if (contrasts !== undefined && !(isObject(contrasts) && Object.values(contrasts).every(isObject))) {
      failOther('"contrasts" is an object from names to terms')
    }
    for (const [contrast, rule] of Object.entries(contrasts ?? {})) {
      checkKeys(rule, RULE_KEYS, `contrast "${contrast}"`, failOther)
    }
  }
  if (bare && CONTRAST_KEYS.every((key) => prompt[key] === undefined)) {
    return []
  }
  const rules = rulesByName(prompt, fail)
  return Object.entries(rules).map(([contrast, rule]) => {
    if (!isContrastName(contrast)) {
      fail(`"${contrast}" cannot name a contrast`, 'Use letters, digits, spaces, "-" and "_".')
    }
    if (!isObject(rule)) {
      fail(`contrast "${contrast}" is an object with "terms" or "labels"`)
    }
    checkKeys(rule, RULE_KEYS, `contrast "${contrast}"`, fail)
    if ((rule.terms === undefined) === (rule.labels === undefined)) {
      fail(`contrast "${contrast}" needs either "terms" or "labels"`)
    }
    checkKeyNames(rule.keyNames, `contrast "${contrast}"`, fail)
    const named = rule.keyNames && { keyNames: rule.keyNames }
    if (rule.labels !== undefined) {
      if (prompt.counterfactual) {
        fail('"labels" and "counterfactual" do not go together')
      }
      checkLabels(rule.labels, fail)
      return { contrast, ...named, labels: rule.labels, counterfactual: false }
    }
    const other = prompt.counterfactual && counterfactualRule(prompt, contrast)
    return {
      contrast,
      ...named,
      terms: pairTerms(rule.terms!, prompt.counterfactual ? (other?.terms ?? []) : undefined, where, fail),
      counterfactual: prompt.counterfactual !== undefined,
    }
  })
}

/** Fields that a prompt without a contrast must not have. */
const CONTRAST_KEYS = ['contrast', 'contrasts', 'keyNames', 'terms', 'labels'] as const

const PROMPT_KEYS = {
  id: true,
  text: true,
  pair: true,
  tokens: true,
  inputs: true,
  contrast: true,
  contrasts: true,
  keyNames: true,
  terms: true,
  labels: true,
  counterfactual: true,
  answer: true,
  group: true,
} satisfies Record<keyof Prompt, true>

const COUNTERFACTUAL_KEYS = {
  text: true,
  pair: true,
  tokens: true,
  inputs: true,
  contrasts: true,
  terms: true,
} satisfies Record<Exclude<keyof Counterfactual, 'labels' | 'keyNames'>, true>

const RULE_KEYS = { keyNames: true, terms: true, labels: true } satisfies Record<keyof ContrastRule, true>

const KEY_NAMES_KEYS = { positive: true, negative: true } satisfies Record<keyof KeyNames, true>

const LABELS_KEYS = {
  query: true,
  key: true,
  rule: true,
  causal: true,
} satisfies Record<keyof Labels, true>

/** Fields of a term, and of its two halves if the negative half is in the counterfactual. */
const TERM_KEYS = {
  query: true,
  positive: true,
  negative: true,
  label: true,
  negativeLabels: true,
} satisfies Record<keyof Term, true>
const POSITIVE_HALF_KEYS = { query: true, positive: true, label: true } as const
const NEGATIVE_HALF_KEYS = { query: true, negative: true, label: true } as const

/** Refuses unknown keys: ignoring a misspelt key would give a wrong result. */
function checkKeys(value: object, known: KnownKeys, what: string, fail: Fail): void {
  const unknown = Object.keys(value).find((key) => !Object.hasOwn(known, key))
  if (unknown !== undefined) {
    fail(`${what} has no "${unknown}"`, `It has ${Object.keys(known).join(', ')}.`)
  }
}

function rulesByName(prompt: Prompt, fail: Fail): Record<string, ContrastRule> {
  if (prompt.contrasts !== undefined) {
    if (prompt.contrast !== undefined) {
      fail('give "contrast" or "contrasts", not both')
    }
    if (!isObject(prompt.contrasts) || Object.keys(prompt.contrasts).length === 0) {
      fail('"contrasts" is an object from names to terms or labels')
    }
    return prompt.contrasts
  }
  if (typeof prompt.contrast !== 'string') {
    fail('give the name of the "contrast"')
  }
  const { keyNames, terms, labels } = prompt
  return { [prompt.contrast!]: { keyNames, terms, labels } }
}

function counterfactualRule(prompt: Prompt, contrast: string): ContrastRule {
  const { counterfactual } = prompt
  const contrasts = counterfactual?.contrasts
  return contrasts && Object.hasOwn(contrasts, contrast)
    ? contrasts[contrast]
    : { terms: counterfactual?.terms }
}

function pairTerms(terms: Term[], others: Term[] | undefined, where: string, fail: Fail): TermRule['terms'] {
  if (!Array.isArray(terms) || terms.length === 0) {
    fail('"terms" is a list, not empty')
  }
  if (others && !Array.isArray(others)) {
    fail('counterfactual: "terms" is a list')
  }
  if (others && others.length !== terms.length) {
    fail(`${counted(terms.length, 'term')}, but ${others.length} in the counterfactual: they go in pairs`)
  }
  return terms.map((term, i) => {
    const other = others ? others[i] : term
    if (!isObject(term)) {
      fail(`term ${i} is an object`)
    }
    if (!isObject(other)) {
      fail(`term ${i} of the counterfactual is an object`)
    }
    checkTermKeys(term, others && other, i, fail)
    if (term.query === undefined || other.query === undefined) {
      fail(`term ${i} has no "query" position`)
    }
    const place = { where, term: `term ${i}`, counterfactual: Boolean(others) }
    checkSide(term.positive, 'positive', place, fail)
    checkSide(other.negative, 'negative', place, fail)
    return {
      query: term.query,
      positive: term.positive!,
      queryNeg: other.query,
      negative: other.negative!,
      ...termLabels(term, others && other, i, fail),
    }
  })
}

/** Checks the keys of a term. The negative keys are in `other`, the half of a counterfactual, if there is one. */
function checkTermKeys(term: Term, other: Term | undefined, index: number, fail: Fail): void {
  if (!other) {
    checkKeys(term, TERM_KEYS, `term ${index}`, fail)
    return
  }
  checkKeys(term, POSITIVE_HALF_KEYS, `term ${index}, whose negatives are in the counterfactual,`, fail)
  checkKeys(other, NEGATIVE_HALF_KEYS, `term ${index} of the counterfactual`, fail)
}

/** Checks that the positions of one side are a list that is not empty. */
function checkSide(
  set: Term['positive'] | Term['negative'],
  side: 'positive' | 'negative',
  { where, term, counterfactual }: { where: string; term: string; counterfactual: boolean },
  fail: Fail,
): void {
  if (set !== undefined && !Array.isArray(set)) {
    fail(`${term}: "${side}" is a list of positions`)
  }
  if (set === undefined || set.length === 0) {
    throw new QkError('ERR_EMPTY_SET', `${where}: ${term} has no ${side} position`, {
      hint: `Leave the term out, or give it "${side}" positions${counterfactual ? ' (negative ones in the counterfactual)' : ''}.`,
    })
  }
}

/** The labels of a term's two halves; `other` is the half of a counterfactual. */
function termLabels(
  { label, negative, negativeLabels }: Term,
  other: Term | undefined,
  index: number,
  fail: Fail,
): Pick<PairedTerm, 'label' | 'labelNeg' | 'negativeLabels'> {
  const isLabel = (value: unknown) => typeof value === 'string' && value !== ''
  for (const value of [label, other?.label]) {
    if (value !== undefined && !isLabel(value)) {
      fail(`term ${index}: "label" is a text, not empty`)
    }
  }
  if (
    negativeLabels !== undefined &&
    !(
      Array.isArray(negativeLabels) &&
      negativeLabels.length === negative!.length &&
      negativeLabels.every(isLabel)
    )
  ) {
    fail(`term ${index}: "negativeLabels" is a list of texts, one a negative position`)
  }
  const ofNegatives = other?.label === undefined ? negativeLabels : other.negative!.map(() => other.label!)
  return {
    ...(label !== undefined && { label }),
    ...(other?.label !== undefined && { labelNeg: other.label }),
    ...(ofNegatives && { negativeLabels: ofNegatives }),
  }
}

function checkKeyNames(names: KeyNames | undefined, what: string, fail: Fail): void {
  if (names === undefined) {
    return
  }
  const isName = (value: unknown) => typeof value === 'string' && value.trim() !== ''
  if (!isObject(names) || !isName(names.positive) || !isName(names.negative)) {
    fail(
      `${what}: "keyNames" is an object with the texts "positive" and "negative", not empty`,
      'As in {"positive": "the answer\'s box", "negative": "another box"}.',
    )
  }
  checkKeys(names, KEY_NAMES_KEYS, `"keyNames" of ${what}`, fail)
}

function checkLabels(labels: Labels, fail: Fail): void {
  if (!isObject(labels)) {
    fail('"labels" is an object with the labels of "query"')
  }
  checkKeys(labels, LABELS_KEYS, '"labels"', fail)
  if (labels.causal !== undefined && typeof labels.causal !== 'boolean') {
    fail('labels.causal is true or false')
  }
  const isLabel = (l: unknown) => l === null || typeof l === 'string' || typeof l === 'number'
  for (const side of ['query', 'key'] as const) {
    const list = labels[side]
    if (list === undefined && side === 'key') {
      continue
    }
    if (!Array.isArray(list) || !list.every(isLabel)) {
      fail(`labels.${side} is a list of strings, numbers or nulls, one a position`)
    }
  }
  if (labels.rule !== undefined && labels.rule !== 'same-label') {
    fail(`the label rule "${labels.rule}" does not exist`, 'The only rule is "same-label".')
  }
}

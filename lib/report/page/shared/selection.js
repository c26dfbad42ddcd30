/**
 * What the reader looks at: a result, one of its contrasts, one of its heads. Everything on the page follows it, and
 * the address says it: `#L3H0/order`, with the result's number in front where there are several (`#2/L3H0/order`).
 */

import { openingFinding } from '../../finding/finding.ts'

/** What the page draws from; filled by `load`. */
export const report = {}

/** In a report without results the head alone, of the stored prompts; empty where there are none. */
export const selection = {}

const listeners = new Set()

/** Unpacks the data, and selects what the address names, or the best finding. */
export async function load() {
  const packed = Uint8Array.from(atob(document.getElementById('data').textContent), (c) => c.charCodeAt(0))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))
  Object.assign(report, await new Response(stream).json())
  if (report.results.length > 0) {
    Object.assign(selection, opening(report.results[0]))
  } else if (storedHeads().length > 0) {
    selection.head = storedHeads()[0]
  } else {
    return
  }
  Object.assign(selection, named(location.hash))
  addEventListener('hashchange', () => {
    const wanted = named(location.hash)
    if (wanted) {
      select(wanted)
    }
  })
}

/** Heads of the stored prompts, that of most attention first. */
export const storedHeads = () => [
  ...new Set(
    report.explanations.flatMap(({ prompts }) =>
      prompts.flatMap(({ heads }) => heads.map((own) => own.head)),
    ),
  ),
]

function opening(result) {
  const { head, contrast } = openingFinding(result, report.interventions)
  return { result, contrast, head }
}

/** The selection that an address names; undefined where it names none that is here. */
function named(hash) {
  const parts = hash.slice(1).split('/').map(decoded)
  if (report.results.length === 0) {
    return storedHeads().includes(parts[0]) ? { head: parts[0] } : undefined
  }
  const number = /^\d+$/.test(parts[0]) ? Number(parts.shift()) : undefined
  const result = number === undefined ? (selection.result ?? report.results[0]) : report.results[number - 1]
  const [head, contrast] = parts
  return parts.length === 2 && result?.heads[head]?.[contrast] ? { result, head, contrast } : undefined
}

/** An address may hold what is no escape. */
function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The address of a selection. */
export function addressOf({ result, head, contrast }) {
  if (!result) {
    return `#${encodeURIComponent(head)}`
  }
  const number = report.results.length > 1 ? `${report.results.indexOf(result) + 1}/` : ''
  return `#${number}${encodeURIComponent(head)}/${encodeURIComponent(contrast)}`
}

/**
 * Changes the selection; another result starts at its best finding. Listeners get what has changed, a result only
 * where it is another one.
 */
export function select({ result = selection.result, ...change }) {
  const other = result !== selection.result
  const next = { ...selection, ...(other && opening(result)), ...change }
  if (['result', 'head', 'contrast'].every((name) => next[name] === selection[name])) {
    return
  }
  Object.assign(selection, next)
  // In place of the present entry: the way back leads out of the report, not through every head looked at.
  history.replaceState(null, '', addressOf(selection))
  for (const listener of listeners) {
    listener(other ? { ...selection } : change)
  }
}

export function onSelect(listener) {
  listeners.add(listener)
}

/** What the result holds of the selected head and contrast. */
export const selected = () => selection.result.heads[selection.head][selection.contrast]

/** Layer and head of a name such as `cross.L2H1`. */
export function place(name) {
  const [, kind = '', layer, head] = /^((?:enc|dec|cross)\.)?L(\d+)H(\d+)$/.exec(name)
  return { row: `${kind}L${layer}`, head: Number(head) }
}

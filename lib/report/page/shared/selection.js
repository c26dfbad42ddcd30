/** What the reader looks at: a result, one of its contrasts, one of its heads; everything follows it. */

import { byEvidence } from './evidence.js'

export const report = JSON.parse(document.getElementById('data').textContent)

const listeners = new Set()

function start(result) {
  const contrast = result.prompts.contrasts[0]
  return { result, contrast, head: byEvidence(result, contrast)[0].head }
}

/** Empty in a report without results. */
export const selection = report.results.length > 0 ? start(report.results[0]) : {}

/**
 * Changes the selection; another result starts at the head with most evidence. Listeners get what has changed, a
 * result only where it is another one.
 */
export function select({ result = selection.result, ...change }) {
  const other = result !== selection.result
  Object.assign(selection, other && start(result), change)
  for (const listener of listeners) listener(other ? { ...selection } : change)
}

export function onSelect(listener) {
  listeners.add(listener)
}

/** Layer and head of a name such as `cross.L2H1`. */
export function place(name) {
  const [, kind = '', layer, head] = /^((?:enc|dec|cross)\.)?L(\d+)H(\d+)$/.exec(name)
  return { row: `${kind}L${layer}`, head: Number(head) }
}

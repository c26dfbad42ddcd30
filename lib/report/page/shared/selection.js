/** What the reader looks at: a result, one of its contrasts, one of its heads; everything follows it. */

export const report = JSON.parse(document.getElementById('data').textContent)

const listeners = new Set()

const strongest = (result, contrast) =>
  Object.keys(result.heads).reduce((best, head) =>
    result.heads[head][contrast].scoreGap > result.heads[best][contrast].scoreGap ? head : best,
  )

function start(result) {
  const contrast = result.prompts.contrasts[0]
  return { result, contrast, head: strongest(result, contrast) }
}

/** Empty in a report without results. */
export const selection = report.results.length > 0 ? start(report.results[0]) : {}

/**
 * Changes the selection; another result starts at its own strongest head. Listeners get what has changed, a
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

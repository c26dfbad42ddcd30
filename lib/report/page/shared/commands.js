/** The commands that measure what a report lacks, with the names of what is selected. */

import { fileName } from './dom.js'
import { report, selection } from './selection.js'

const quoted = (text) => (/^[\w./:@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** Model and result of the selection, as options. */
function common() {
  if (!selection.result) {
    return `--model ${quoted(fileName(report.explanations[0].model))} --prompts SET.jsonl`
  }
  const { model, name } = selection.result
  const source = model.hub
    ? `hf:${model.hub.repo}@${model.hub.commit}/${model.hub.file}`
    : fileName(model.path)
  return `--model ${quoted(source)} --prompts SET.jsonl --result ${quoted(name)}`
}

/** Another head, if the selected one is not what lacks. */
export const interveneCommand = (head = selection.head) =>
  `qkspace intervene ${common()} --heads ${head} --features ${quoted(selection.contrast)} --out interventions.json`

export const attributeCommand = (more = '', head = selection.head) =>
  `qkspace attribute ${common()} --heads ${head} --features ${quoted(selection.contrast)}${more} --out attribution.json`

export const explainCommand = (head = selection.head) =>
  `qkspace explain ${common()} --head ${head} --out explanation.json`

export const decomposeCommand = (more) => {
  const { model } = selection.result
  return `qkspace decompose --model ${quoted(fileName(model.path))} --prompts SET.jsonl ${more} --out result.safetensors`
}

/** The snippets of docs/interchange.md run on the files that they name. */

import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { writePrompts } from '../../dist/contrast/write-prompts.js'
import { boxesOrder, bundledFile, bundledWords } from '../../dist/index.js'
import { cli, temporaryFolder } from '../helpers/files.js'
import { pythonText, withPython } from '../helpers/python.js'

const folder = temporaryFolder(test)
const example = (name) => fileURLToPath(new URL(`../../examples/python/${name}`, import.meta.url))
const text = readFileSync(new URL('../../docs/interchange.md', import.meta.url), 'utf8')
const snippets = (language) =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, code]) => code)

/** Runs a snippet of the shell with `qkspace` of this checkout on the bundled model. */
function shell(code) {
  const words = code
    .replace('boxes.onnx', bundledFile('boxes.onnx'))
    .replace('tokenizer.json', bundledFile('boxes.tokenizer.json'))
    .trim()
    .split(/\s+/)
  if (words[0] !== 'qkspace') {
    throw new Error(`not a command of qkspace: ${code}`)
  }
  return spawnSync(process.execPath, [cli, ...words.slice(1)], { cwd: folder, encoding: 'utf8' })
}

test.before(async () => {
  await writePrompts(
    path.join(folder, 'boxes.jsonl'),
    boxesOrder({ ...bundledWords(), prompts: 60, seed: 1 }),
  )
})

test.serial('commands', (t) => {
  const [decompose, exported, ...others] = snippets('sh')
  t.is(others.length, 0)
  t.is(shell(decompose).status, 0)
  t.is(shell(decompose.replace('boxes.npz', 'boxes.safetensors')).status, 0)
  const { status, stdout, stderr } = shell(exported)
  t.is(status, 0, stderr)
  t.regex(stdout, /blocks\.3\.attn\.hook_rot_q /)
})

withPython(test.serial, 'numpy')('Python with numpy', (t) => {
  const [code] = snippets('python')
  t.regex(pythonText(folder, '-c', code), /^\d\S* \(32, \d+\)\n$/)
})

withPython(test.serial, 'torch')(
  'the function for a hook of TransformerLens does what the example does',
  (t) => {
    // TransformerLens and the model are the reader's own: the function is run on rows of the same shape.
    const [, code] = snippets('python')
    const hook = code.slice(code.indexOf('def remove'), code.indexOf('logits ='))
    const script = `
import sys, numpy, torch
sys.path.insert(0, sys.argv[1])
import ablate_subspace
basis = torch.from_numpy(numpy.load("order.npz")["blocks.3.attn.hook_rot_q"])
${hook}
q = torch.randn(2, 5, *basis.shape[:2], dtype=basis.dtype)
print(float((remove(q, None) - ablate_subspace.remove(q, basis)).abs().max()), float((remove(q, None) - q).abs().max()))
`
    const [apart, moved] = pythonText(
      folder,
      '-B',
      '-c',
      script,
      path.dirname(example('ablate_subspace.py')),
    ).split(' ')
    t.is(Number(apart), 0)
    t.true(Number(moved) > 0.1)
  },
)

withPython(test.serial, 'torch')('JavaScript, on what save_activations.py saves', (t) => {
  pythonText(folder, example('save_activations.py'), 'activations.npz')
  const [code, ...others] = snippets('js')
  t.is(others.length, 0)
  const script = path.join(folder, 'snippet.mjs')
  const library = new URL('../../dist/index.js', import.meta.url).href
  writeFileSync(script, code.replace("'qkspace'", JSON.stringify(library)))
  const printed = execFileSync(process.execPath, [script], { cwd: folder, encoding: 'utf8' })
  t.regex(printed, /^layer 0: s_1 of head 0 is \d+\.\d+\n$/)
})

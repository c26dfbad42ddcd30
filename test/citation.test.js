/** What to cite: sentences and references hold what a file says, and name what it lacks. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesOrder, cite, openModel, sweep } from '../dist/index.js'
import { readSafetensors, writeSafetensors } from '../dist/store/safetensors.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { pythonJson, withPython } from './helpers/python.js'
import { boxesResult, lexicalResult } from './helpers/small-results.js'

const folder = temporaryFolder(test)
const at = (name) => path.join(folder, name)

const made = {}
test.before(async () => {
  made.tested = await boxesResult()
  made.centred = await boxesResult({ center: true })
  made.energy = await boxesResult({ rank: { rule: 'energy', threshold: 0.99 }, seed: 7 })
  made.fixed = await boxesResult({ rank: { rule: 'fixed', rank: 3 } })
  made.counterfactual = await lexicalResult({ center: true })
  for (const [name, result] of Object.entries(made)) {
    await result.save(at(`${name}.safetensors`))
  }
})

test('of a tested result, every setting of the file', async (t) => {
  const { settings, paragraph, bibtex } = await cite(at('tested.safetensors'))
  const { info } = made.tested
  const tests = made.tested.toRows()
  const draws = tests.map((row) => row.draws)
  const found = tests.filter(({ discovered }) => discovered)
  t.deepEqual(settings, {
    kind: 'result',
    model: { name: 'boxes.onnx', sha256: info.model.sha256 },
    prompts: {
      name: 'memory',
      sha256: info.prompts.sha256,
      prompts: 60,
      contrasts: [{ name: 'order', rule: 'terms' }],
    },
    estimator: 'per-query',
    center: false,
    rank: { rule: 'permutation', alpha: 0.05 },
    test: {
      hypothesis: 'effect',
      draws: { fewest: Math.min(...draws), most: Math.max(...draws) },
      units: { order: 60 },
      tested: 3,
      discovered: found.length,
      replicated: found.filter(({ replication }) => replication?.replicated).length,
      corrected: true,
    },
    roleRule: null,
    seed: 0,
    backend: info.backend,
    versions: {
      qkspace: info.versions.qkspace,
      node: process.versions.node,
      onnxruntime: info.versions['onnxruntime-node'],
    },
    missing: [],
  })
  for (const part of [
    `boxes.onnx (SHA-256 ${info.model.sha256})`,
    `SHA-256 ${info.prompts.sha256}), 60 prompts, defines the contrast "order" (terms)`,
    'estimator per-query',
    'not centred',
    'hypothesis effect',
    'at the level 0.05',
    '60 units for "order"',
    '3 pairs of head and contrast, 199 to 9,999 draws each',
    'Benjamini-Hochberg',
    `${found.length} of 3 were discovered`,
    'on one half of the units was tested on the other half',
    'at 0.025',
    'seed 0',
    `qkspace ${info.versions.qkspace}, Node ${process.versions.node}, onnxruntime ${info.versions['onnxruntime-node']}`,
    `the backend ${info.backend.name} (${info.backend.instructionSet})`,
  ]) {
    t.true(paragraph.includes(part), part)
  }
  t.notRegex(paragraph, /does not say|undefined|null|NaN/)
  t.regex(bibtex.paper, /Lee, Andrew and Belinkov, Yonatan .*\n.*2026[\s\S]*eprint = \{2602\.04752\}/)
  t.regex(bibtex.software, /\{\{The qkspace authors\}\}/)
  t.true(bibtex.software.includes(`version = {${info.versions.qkspace}}`))
})

test('the energy and the fixed rule are said to be no test, with their seed', async (t) => {
  const energy = await cite(at('energy.safetensors'))
  t.is(energy.settings.test, null)
  t.regex(
    energy.paragraph,
    /holds 99% of \|\|ΔC\|\|_F\^2; this rule describes the spectrum and does not test it/,
  )
  t.regex(energy.paragraph, /seed 7/)
  t.notRegex(energy.paragraph, /discovered|units|draws each|does not say/)
  const fixed = await cite(at('fixed.safetensors'))
  t.regex(fixed.paragraph, /was set to 3; it was not tested against chance/)
})

test('centring, and what it means for counterfactual contrasts', async (t) => {
  const centred = await cite(at('centred.safetensors'))
  t.regex(
    centred.paragraph,
    /C\+ and C- were centred, each by the product of its mean query and its mean key\./,
  )
  t.regex(centred.paragraph, /hypothesis interaction \(a difference ΔC that depends on both/)
  const { paragraph, settings } = await cite(at('counterfactual.safetensors'))
  t.deepEqual(settings.prompts.contrasts, [{ name: 'lexical', rule: 'counterfactual' }])
  t.regex(paragraph, /"lexical" \(counterfactual\)/)
  t.regex(paragraph, /centred, .* and by the means that both sides share for the counterfactual ones/)
})

test('npz and JSON of the same result say the same', async (t) => {
  for (const name of ['tested', 'energy']) {
    const { settings, paragraph } = await cite(at(`${name}.safetensors`))
    for (const format of ['npz', 'json']) {
      await made[name].save(at(`${name}.${format}`))
      const other = await cite(at(`${name}.${format}`))
      t.deepEqual(other.settings, settings, format)
      t.is(other.paragraph, paragraph)
    }
  }
})

test('a sweep says its roles too, from JSON and from safetensors', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const prompts = boxesOrder({ ...bundledWords(), prompts: 60, seed: 1 })
  const found = await sweep(model, prompts, { heads: 'L3H0,L1H0', heldOut: 0, alpha: 0.1, roleFactor: 5 })
  const cited = []
  for (const format of ['json', 'safetensors', 'npz']) {
    await found.save(at(`sweep.${format}`))
    cited.push(await cite(at(`sweep.${format}`)))
  }
  t.like(cited[0].settings, { kind: 'sweep', roleRule: { factor: 5, attention: 0.25 }, missing: [] })
  t.is(cited[0].settings.rank.alpha, 0.1)
  t.regex(cited[0].paragraph, /get 25% of its attention, and one of them 5 times as much/)
  t.deepEqual(cited[1], cited[0])
  t.deepEqual(cited[2], cited[0])
})

/** The same file with other metadata. */
async function withInfo(name, change) {
  const { tensors, metadata } = await readSafetensors(at('tested.safetensors'))
  const info = JSON.parse(metadata.qkspace)
  change(info)
  await writeSafetensors(at(name), tensors, { ...metadata, qkspace: JSON.stringify(info) })
  return at(name)
}

test('what a file lacks is named, and not filled in', async (t) => {
  const file = await withInfo('old.safetensors', (info) => {
    delete info.seed
    delete info.center
    delete info.versions['onnxruntime-node']
    delete info.prompts.sha256
    delete info.backend.instructionSet
    for (const { order } of Object.values(info.heads)) {
      delete order.test.replication
      delete order.test.units
    }
  })
  const { paragraph, settings } = await cite(file)
  t.deepEqual(settings.missing.toSorted(), [
    'replication between halves of the units',
    'the SHA-256 of the prompt set',
    'the instruction set',
    'the seed',
    'the units of the test',
    'the version of onnxruntime',
    'whether covariances were centred',
  ])
  for (const what of settings.missing) {
    t.true(paragraph.includes(what), what)
  }
  t.notRegex(paragraph, /undefined|null|NaN|centred\.|other half|seed 0/)
  t.regex(paragraph, /The file does not say /)
})

test('a file with hardly anything is cited as far as it goes', async (t) => {
  const file = at('bare.json')
  writeFileSync(
    file,
    JSON.stringify({ format: 'qkspace-result', formatVersion: 1, model: 'x', prompts: null, rows: 5 }),
  )
  const { paragraph, settings } = await cite(file)
  t.is(settings.model.name, null)
  t.true(settings.missing.includes('the rank rule'))
  t.notRegex(paragraph, /undefined|null|NaN|\[object/)
  t.notRegex((await cite(file)).bibtex.software, /version/)
})

test('files that are none are refused', async (t) => {
  writeFileSync(at('other.json'), '{"format": "something"}')
  writeFileSync(at('text.json'), 'no JSON')
  await writeSafetensors(at('weights.safetensors'), [['w', { data: Float32Array.of(1), shape: [1] }]], {})
  for (const name of ['other.json', 'text.json', 'weights.safetensors']) {
    await t.throwsAsync(cite(at(name)), { code: 'ERR_FORMAT', message: /not a result or a sweep of qkspace/ })
  }
  await made.tested.save(at('rows.csv'))
  await t.throwsAsync(cite(at('rows.csv')), { code: 'ERR_FORMAT', message: /holds rows/ })
  await t.throwsAsync(cite(at('none.safetensors')), { code: 'ERR_FILE' })
  await t.throwsAsync(cite(at('none.json')), { code: 'ERR_FILE' })
  await t.throwsAsync(cite(bundledFile('boxes.onnx')), { code: 'ERR_FORMAT' })
})

test('the command prints the paragraph and both references, or one document', async (t) => {
  const file = at('tested.safetensors')
  const { paragraph, bibtex, settings } = await cite(file)
  const { stdout, status, left } = await runCommand(folder, ['cite', file])
  t.is(status, 0)
  t.is(stdout, `${paragraph}\n\n${bibtex.paper}\n\n${bibtex.software}\n`)
  t.deepEqual(left, [])
  const json = await runCommand(folder, ['cite', file, '--json'])
  t.deepEqual(JSON.parse(json.stdout), JSON.parse(JSON.stringify({ file, settings, paragraph, bibtex })))
  const none = await runCommand(folder, ['cite', at('other.json')])
  t.is(none.status, 1)
  t.regex(none.stderr, /not a result or a sweep of qkspace/)
  t.is((await runCommand(folder, ['cite'])).status, 2)
  t.regex((await runCommand(folder, ['cite', '--help'])).stdout, /Example:\n +qkspace cite/)
})

const cff = readFileSync(new URL('../CITATION.cff', import.meta.url), 'utf8')

test('CITATION.cff has the version of the package and the paper of the references', async (t) => {
  const { version, license } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  t.is(/^version: (.*)$/m.exec(cff)[1], version)
  t.is(/^license: (.*)$/m.exec(cff)[1], license)
  const { bibtex } = await cite(at('tested.safetensors'))
  const title = /^ {2}title = \{(.*)\},$/m.exec(bibtex.paper)[1]
  t.true(cff.includes(`title: ${title}\n`))
  for (const name of ['Lee', 'Belinkov', 'Wattenberg']) {
    t.true(cff.includes(`family-names: ${name}\n`))
  }
  t.true(cff.includes('arXiv:2602.04752'))
})

withPython(test, 'yaml')('CITATION.cff is YAML with the fields that CFF 1.2.0 requires', (t) => {
  const script = 'import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))'
  const parsed = pythonJson('-c', script, new URL('../CITATION.cff', import.meta.url).pathname)
  t.like(parsed, { 'cff-version': '1.2.0', type: 'software', title: 'qkspace' })
  t.is(typeof parsed.message, 'string')
  t.is(typeof parsed.version, 'string')
  t.deepEqual(parsed.authors, [{ name: 'The qkspace authors' }])
  t.deepEqual(
    parsed.references.map(({ type, authors, title }) => [type, authors.length, typeof title]),
    [['article', 4, 'string']],
  )
})

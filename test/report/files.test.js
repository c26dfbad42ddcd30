/** Reports as files: the same parts give the same bytes, nothing else is overwritten, documents of the wrong kind are named. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  QkError,
  readAttribution,
  readExplanation,
  readInterventions,
  runPaper,
  writeReport,
} from '../../dist/index.js'
import { writeJsonFile } from '../../dist/store/json-file.js'
import { documentOf } from '../helpers/browser.js'
import { cli, temporaryFolder } from '../helpers/files.js'
import { testedParts } from '../helpers/report-parts.js'

const folder = temporaryFolder(test)
const made = {}

test.before(async () => {
  Object.assign(made, await testedParts())
  made.paper = await runPaper({ quick: true, only: [5] })
})

test('the same parts give the same bytes', async (t) => {
  const write = async (name) => {
    const file = path.join(folder, name)
    await writeReport(file, { results: [{ name: 'boxes', value: made.result }] })
    return readFileSync(file)
  }
  t.deepEqual(await write('once.html'), await write('again.html'))
})

test('the one script that may run is named by its hash, and no text of the data is part of it', async (t) => {
  const file = path.join(folder, 'policy.html')
  const name = '</script><script>alert(1)</script>'
  await writeReport(file, { results: [{ name, value: made.result }] })
  const html = readFileSync(file, 'utf8')
  const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)]
  t.is(scripts.length, 1)
  const hash = createHash('sha256').update(scripts[0][1]).digest('base64')
  const policy = /Content-Security-Policy" content="([^"]+)"/.exec(html)[1]
  t.true(policy.includes(`script-src 'sha256-${hash}';`))
  t.regex(policy, /^default-src 'none';/)
  t.false(html.includes('alert(1)'))
  t.is(documentOf(html).results[0].name, name)
})

test('a report replaces a report, and no other file', async (t) => {
  const results = [{ name: 'boxes', value: made.result }]
  const own = path.join(folder, 'own.html')
  await writeReport(own, { results })
  await t.notThrowsAsync(writeReport(own, { results }))
  const other = path.join(folder, 'other.html')
  writeFileSync(other, '<!doctype html>\n<html lang="en"><p>Thesis</p>')
  const error = await t.throwsAsync(writeReport(other, { results }), { instanceOf: QkError })
  t.is(error.code, 'ERR_FILE')
  t.regex(readFileSync(other, 'utf8'), /Thesis/)
})

test('the command names a file of the wrong kind, and leaves nothing behind', (t) => {
  const document = path.join(folder, 'a.json')
  writeFileSync(document, '{"heads": {}}')
  const result = path.join(folder, 'r.safetensors')
  const out = path.join(folder, 'failed.html')
  const run = (...args) =>
    spawnSync(process.execPath, [cli, 'report', ...args, '--out', out], { encoding: 'utf8' })
  const noResult = run(document)
  t.is(noResult.status, 1)
  t.regex(noResult.stderr, /a\.json/)
  const noPaper = run('--paper', document)
  t.is(noPaper.status, 1)
  t.regex(noPaper.stderr, /a\.json was not written by `qkspace paper`/)
  t.is(run().status, 2)
  return made.result.save(result).then(() => {
    const wrong = run(result, '--attribution', document)
    t.is(wrong.status, 1)
    t.regex(wrong.stderr, /a\.json was not written by `qkspace attribute --out`/)
    t.false(existsSync(out))
    const right = run(result, '--json')
    t.is(right.status, 0)
    t.like(JSON.parse(right.stdout), { report: out, heads: [16] })
    const paper = path.join(folder, 'paper.json')
    writeFileSync(paper, JSON.stringify(made.paper))
    const alone = run('--paper', paper, '--json')
    t.is(alone.status, 0)
    t.deepEqual(JSON.parse(alone.stdout).papers, [paper])
  })
})

test('a document of the other kind is named', async (t) => {
  const [edits, stored] = [path.join(folder, 'i.json'), path.join(folder, 'e.json')]
  await writeJsonFile(edits, made.interventions)
  await writeJsonFile(stored, made.explanation)
  const error = await t.throwsAsync(readAttribution(edits), { instanceOf: QkError })
  t.is(error.code, 'ERR_FORMAT')
  t.regex(error.hint, /--interventions/)
  const other = await t.throwsAsync(readInterventions(stored), { instanceOf: QkError })
  t.regex(other.hint, /--explanation/)
  t.deepEqual(await readExplanation(stored), JSON.parse(JSON.stringify(made.explanation)))
})

test('documents of before figures stood beside their controls are refused, with what to run', async (t) => {
  const document = path.join(folder, 'before.json')
  const { energy, share } = made.attribution.heads.L3H0.contrasts.order
  await writeJsonFile(document, { ...made.attribution, heads: { L3H0: { energy, share } } })
  /** @type {import('../../dist/index.js').QkError} */
  const split = await t.throwsAsync(readAttribution(document), {
    code: 'ERR_FORMAT',
    message: /earlier version/,
  })
  t.regex(split.hint, /qkspace attribute --out/)
  const variants = made.interventions.variants.map(({ contrasts, terms, ...v }) => v)
  const edits = path.join(folder, 'edits-before.json')
  await writeJsonFile(edits, { ...made.interventions, variants })
  await t.throwsAsync(readInterventions(edits), { code: 'ERR_FORMAT', message: /earlier version/ })
})

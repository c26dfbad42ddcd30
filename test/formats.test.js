/** The formats that results and sweeps are saved in, and a result as rows. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesOrder, loadResult, openModel, sweep, writePrompts } from '../dist/index.js'
import { npyHeader } from '../dist/store/npy.js'
import { resultTensors } from '../dist/store/result-tensors.js'
import { readNpz, readNpzText } from '../dist/store/zip/read-npz.js'
import { writeNpz } from '../dist/store/zip/write-npz.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { pythonJson, withPython } from './helpers/python.js'
import { boxesResult } from './helpers/small-results.js'

const folder = temporaryFolder(test)
const at = (name) => path.join(folder, name)

const made = {}
test.before(async () => {
  made.tested = await boxesResult()
  made.plain = await boxesResult({ rank: { rule: 'energy', threshold: 0.9 } })
})

const cells = (file) => {
  const [header, ...lines] = readFileSync(file, 'utf8').trimEnd().split('\r\n')
  const names = header.split(',')
  return lines.map((line) => Object.fromEntries(line.split(',').map((cell, i) => [names[i], cell])))
}

const parquet = async (file) => {
  const bytes = readFileSync(file)
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
  return { rows: await parquetReadObjects({ file: buffer }), ...parquetMetadata(buffer) }
}

test('rows have every head and contrast with the figures of the result, nulls beside them', (t) => {
  const rows = made.tested.toRows()
  t.deepEqual(
    rows.map(({ head, layer, contrast }) => [head, layer, contrast]),
    made.tested.headNames.map((head) => [head, Number(head[1]), 'order']),
  )
  for (const row of rows) {
    const { test: own, ...subspace } = made.tested.head(row.head).contrast('order')
    t.like(row, {
      rank: own.rank,
      unadjustedRank: own.unadjustedRank,
      hypothesis: 'effect',
      q: own.q,
      draws: own.draws,
      units: 60,
      discovered: own.discovered,
      rankRule: 'permutation:0.05',
      totalEnergy: subspace.totalEnergy,
      scoreGap: subspace.scoreGap,
      terms: 60,
      skipped: 0,
      qAnyDependence: own.qAnyDependence,
      pMaximum: own.pMaximum,
      statistic: own.statistic,
    })
    t.deepEqual(row.p, own.p)
    t.deepEqual(row.statisticNull, own.null)
    t.deepEqual(row.attention, subspace.attention)
    t.deepEqual(row.replication, own.replication)
    t.is(row.norm, Math.sqrt(subspace.totalEnergy))
    t.is(row.s1, subspace.s[0] ?? null)
  }
  t.true(rows.some(({ discovered }) => discovered))
})

test('without a test rows say so by nulls, and name the rule', (t) => {
  const [row] = made.plain.toRows()
  t.like(row, { rankRule: 'energy:0.9', q: null, discovered: null, draws: null, unadjustedRank: null })
  t.deepEqual(row.p, { effect: null, interaction: null })
  t.is(row.s1, made.plain.head(row.head).contrast('order').s[0])
})

test('a loaded result has the same rows', async (t) => {
  await made.tested.save(at('loaded.safetensors'))
  t.deepEqual((await loadResult(at('loaded.safetensors'))).toRows(), made.tested.toRows())
})

test('JSON holds the metadata and the rows', async (t) => {
  await made.tested.save(at('r.json'))
  const document = JSON.parse(readFileSync(at('r.json'), 'utf8'))
  const { heads: _, ...info } = made.tested.info
  t.deepEqual(document, JSON.parse(JSON.stringify({ ...info, rows: made.tested.toRows() })))
})

test('CSV has a line a head and contrast, numbers in full', async (t) => {
  for (const name of ['tested', 'plain']) {
    const file = at(`${name}.csv`)
    await made[name].save(file)
    const lines = cells(file)
    made[name].toRows().forEach((row, i) => {
      t.is(lines[i].head, row.head)
      t.is(lines[i].q, row.q === null ? '' : `${row.q}`)
      t.is(Number(lines[i].norm), row.norm)
      t.is(lines[i].statistic_null_p95, row.statisticNull === null ? '' : `${row.statisticNull.p95}`)
      t.is(lines[i].replicated, row.discovered === null ? '' : `${row.replication?.replicated ?? false}`)
    })
    t.is(lines.length, made[name].toRows().length)
  }
})

test('Parquet has the cells of the CSV in typed columns, and metadata with versions', async (t) => {
  await made.tested.save(at('tested.csv'))
  await made.tested.save(at('r.parquet'))
  const { rows, schema, key_value_metadata: metadata } = await parquet(at('r.parquet'))
  const lines = cells(at('tested.csv'))
  t.is(rows.length, lines.length)
  rows.forEach((row, i) => {
    t.deepEqual(Object.keys(row), Object.keys(lines[i]))
    for (const [name, cell] of Object.entries(row)) {
      t.is(`${cell ?? ''}`, lines[i][name], name)
    }
  })
  const types = Object.fromEntries(schema.map(({ name, type }) => [name, type]))
  t.like(types, { head: 'BYTE_ARRAY', rank: 'INT32', q: 'DOUBLE', discovered: 'BOOLEAN', units: 'INT32' })
  t.is(typeof rows[0].head, 'string')
  const about = JSON.parse(metadata.find(({ key }) => key === 'qkspace').value)
  t.deepEqual(about.versions, made.tested.info.versions)
  t.is(about.model.sha256, made.tested.info.model.sha256)
  t.false('rows' in about)
})

test('npz comes back array by array, the document as a text', async (t) => {
  await made.tested.save(at('r.npz'))
  const arrays = await readNpz(at('r.npz'), (names) => names.filter((name) => name !== 'qkspace'), 2 ** 30)
  const tensors = new Map(
    resultTensors(
      new Map(
        made.tested.headNames.map((head) => [
          head,
          new Map([['order', made.tested.head(head).contrast('order')]]),
        ]),
      ),
      'f64',
    ),
  )
  t.deepEqual([...arrays.keys()], [...tensors.keys()])
  for (const [name, { data, shape }] of tensors) {
    t.deepEqual(arrays.get(name).data, data)
    t.deepEqual(arrays.get(name).shape, [...shape])
  }
  const info = JSON.parse(await readNpzText(at('r.npz'), 'qkspace', 2 ** 30))
  t.deepEqual(info, JSON.parse(JSON.stringify(made.tested.info)))
  t.is(await readNpzText(at('r.npz'), 'nothing', 2 ** 30), undefined)
})

test('the same result is the same bytes in every format', async (t) => {
  for (const format of ['safetensors', 'npz', 'json', 'csv', 'parquet']) {
    await made.tested.save(at(`a.${format}`))
    await made.tested.save(at(`b.${format}`))
    // Over the file of the first time, too.
    await made.tested.save(at(`a.${format}`))
    t.deepEqual(readFileSync(at(`a.${format}`)), readFileSync(at(`b.${format}`)), format)
  }
})

test('characters beyond two bytes come back from an npz', async (t) => {
  const text = 'ΔC 𝒒 "é"'
  await writeNpz(at('text.npz'), [], { qkspace: text })
  t.is(await readNpzText(at('text.npz'), 'qkspace', 2 ** 20), text)
})

withPython(test, 'numpy')('numpy reads an npz without pickles', async (t) => {
  await made.tested.save(at('python.npz'))
  const script = `
import json, sys, numpy
file = numpy.load(sys.argv[1], allow_pickle=False)
info = json.loads(file['qkspace'].item())
arrays = {name: [str(file[name].dtype), list(file[name].shape), float(file[name].sum())] for name in file.files if name != 'qkspace'}
print(json.dumps({'info': info, 'arrays': arrays}))
`
  const { info, arrays } = pythonJson('-c', script, at('python.npz'))
  t.deepEqual(info, JSON.parse(JSON.stringify(made.tested.info)))
  for (const head of made.tested.headNames) {
    const { u, rank, headDim, nulls } = made.tested.head(head).contrast('order')
    const [dtype, shape, sum] = arrays[`${head}.order.u`]
    t.deepEqual([dtype, shape], ['float64', [headDim, rank]])
    t.true(Math.abs(sum - u.reduce((a, b) => a + b, 0)) < 1e-9)
    if (nulls) {
      t.deepEqual(arrays[`${head}.order.null_v`].slice(0, 2), ['float32', [20, headDim, rank]])
    }
  }
})

test('another ending is refused with the list; a name without one is safetensors', async (t) => {
  /** @type {import('../dist/index.js').QkError} */
  const error = await t.throwsAsync(made.tested.save(at('r.txt')), { code: 'ERR_ARGUMENT', message: /\.txt/ })
  t.regex(error.hint, /\.safetensors, \.npz, \.json, \.csv, \.parquet/)
  t.false(existsSync(at('r.txt')))
  await made.tested.save(at('bare'))
  t.deepEqual((await loadResult(at('bare'))).headNames, made.tested.headNames)
  await t.throwsAsync(made.tested.save(at('typed.csv'), { dtype: 'f32' }), {
    code: 'ERR_ARGUMENT',
    message: /dtype is the type of stored tensors/,
  })
  await made.tested.save(at('f32.npz'), { dtype: 'f32' })
  const arrays = await readNpz(at('f32.npz'), () => ['L3H0.order.u'], 2 ** 20)
  t.true(arrays.get('L3H0.order.u').data instanceof Float32Array)
})

test('loadResult names the formats that it does not read', async (t) => {
  await made.tested.save(at('not-loaded.json'))
  await t.throwsAsync(loadResult(at('not-loaded.json')), { code: 'ERR_FORMAT', message: /\.json file/ })
})

test('a file of another kind is not written over, whatever the format', async (t) => {
  const zip = at('foreign.npz')
  await writeNpz(zip, [['w', { data: Float32Array.of(1), shape: [1] }]], {})
  writeFileSync(at('foreign.csv'), 'name,price\n')
  writeFileSync(at('foreign.json'), '{"prompts": []}')
  writeFileSync(at('foreign.parquet'), 'PAR1 and nothing else PAR1')
  for (const format of ['npz', 'csv', 'json', 'parquet']) {
    const before = readFileSync(at(`foreign.${format}`))
    await t.throwsAsync(made.tested.save(at(`foreign.${format}`)), {
      code: 'ERR_FILE',
      message: /it exists, and is not/,
    })
    t.deepEqual(readFileSync(at(`foreign.${format}`)), before)
  }
})

test('a header of npy is what numpy wrote for it', (t) => {
  const header = npyHeader('<U3', [])
  t.is(header.length % 64, 0)
  t.regex(header.toString('latin1', 10), /^\{'descr': '<U3', 'fortran_order': False, 'shape': \(\), \} *\n$/)
})

const boxes = ['--model', bundledFile('boxes.onnx'), '--tokenizer', bundledFile('boxes.tokenizer.json')]
const order = (prompts) => boxesOrder({ ...bundledWords(), prompts, seed: 1 })

test('decompose --out takes every format, and refuses others before it opens the model', async (t) => {
  await writePrompts(at('order.jsonl'), order(24))
  const args = ['decompose', ...boxes, '--prompts', at('order.jsonl'), '--heads', 'L3H0', '--rank', 'fixed:2']
  const saved = await runCommand(folder, [...args, '--out', 'r.parquet'])
  t.is(saved.status, 0, saved.stderr)
  t.deepEqual(saved.left, ['r.parquet'])
  t.like((await parquet(path.join(saved.cwd, 'r.parquet'))).rows[0], { head: 'L3H0', rank: 2, terms: 24 })
  const refused = await runCommand(folder, [
    'decompose',
    '--model',
    'nowhere.onnx',
    '--prompts',
    'nowhere.jsonl',
    '--out',
    'r.xlsx',
  ])
  t.is(refused.status, 2)
  t.regex(refused.stderr, /r\.xlsx ends in \.xlsx.*\n.*\.safetensors, \.npz, \.json, \.csv, \.parquet/)
  t.deepEqual(refused.left, [])
})

test('a sweep is saved in every format, by its ending', async (t) => {
  const model = await openModel(boxes[1], { tokenizer: boxes[3] })
  const found = await sweep(model, order(120), { heads: 'L3H0,L0H0', heldOut: 24 })
  for (const format of ['safetensors', 'npz', 'json', 'csv', 'parquet']) {
    await found.save(at(`sweep.${format}`))
    await found.save(at(`sweep.${format}`))
  }
  const lines = cells(at('sweep.csv'))
  t.is(readFileSync(at('sweep.csv'), 'utf8'), found.toCsv())
  const { rows } = await parquet(at('sweep.parquet'))
  found.rows.forEach((row, i) => {
    t.is(rows[i].role, row.role)
    t.is(lines[i].explained_null_p95, `${row.heldOut?.explained.null.p95 ?? ''}`)
    t.is(rows[i].explained_null_p95 ?? undefined, row.heldOut?.explained.null.p95)
  })
  t.true(found.rows.some(({ heldOut }) => heldOut))
  t.deepEqual(JSON.parse(readFileSync(at('sweep.json'), 'utf8')), JSON.parse(JSON.stringify(found.toJSON())))
  const loaded = await loadResult(at('sweep.safetensors'))
  // The roles are the sweep's own; everything else is the result's, held-out figures included.
  t.deepEqual(
    loaded.toRows(),
    found.result.headNames.map((head) => {
      const { role: _, ...row } = found.toRows().find((own) => own.head === head)
      return row
    }),
  )
  const { rows: _, ...about } = found.toJSON()
  const saved = JSON.parse(await readNpzText(at('sweep.npz'), 'sweep', 2 ** 30))
  t.deepEqual(saved, JSON.parse(JSON.stringify(about)))
  await t.throwsAsync(found.save(at('sweep.html')), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(found.save(at('tested.csv')), { code: 'ERR_FILE', message: /not rows of a sweep/ })
})

test('sweep --out is a folder, or one file by its ending', async (t) => {
  await writePrompts(at('sweep.jsonl'), order(24))
  const args = ['sweep', ...boxes, '--prompts', at('sweep.jsonl'), '--heads', 'L3H0', '--held-out', '0']
  const one = await runCommand(folder, [...args, '--out', 'found.csv'])
  t.deepEqual([one.status, one.left], [0, ['found.csv']], one.stderr)
  t.regex(one.stdout, /saved found\.csv/)
  const dotted = await runCommand(folder, [...args, '--out', 'found.v2/'])
  t.deepEqual([dotted.status, dotted.left], [0, ['found.v2']], dotted.stderr)
  const refused = await runCommand(folder, [
    'sweep',
    '--model',
    'nowhere.onnx',
    '--roles',
    '--out',
    'found.v2',
  ])
  t.is(refused.status, 2)
  t.regex(refused.stderr, /found\.v2 ends in \.v2/)
})

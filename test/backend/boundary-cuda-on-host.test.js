/** The boundary of the native addon in front of the CUDA backend, which runs on the processor here. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { addon, job, keys, openOptions, productsRequest, queries, rows } from '../helpers/addon-calls.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) {
  test.skip(`cuda on the host: ${reason}`, () => {})
} else {
  const library = cudaOnHost()
  const context = addon.open(openOptions({ backend: 'cuda', library }))

  test('products: sizes are those of what was uploaded', async (t) => {
    const q = await addon.rowsUpload(job(), context, queries())
    const k = await addon.rowsUpload(job(), context, keys())
    const call = (more) => addon.largestOfProducts(job(), context, productsRequest({ q, k, ...more }))
    t.is((await call()).length, 4 * 3)
    t.is((await call({ rank: 0, u: undefined, v: undefined })).length, 4 * 3)

    // More heads than are said beside the handle.
    const said = { rows: q, shape: [1, 20, 1, 8], strides: [0, 8, 8, 1], dtype: 0 }
    t.is(
      (await addon.largestOfProducts(job(), context, { ...productsRequest({ q, k }), q: said })).length,
      4 * 3,
    )

    const narrow = await addon.rowsUpload(job(), context, rows([1, 20, 2, 7], 1))
    const odd = await addon.rowsUpload(job(), context, rows([1, 20, 3, 8], 1))
    for (const [more, code] of [
      [{ draws: 0, coefficients: new Float32Array(0) }, 'ERR_ARGUMENT'],
      [{ draws: -1 }, 'ERR_ARGUMENT'],
      [{ draws: 65536 }, 'ERR_ARGUMENT'],
      [{ draws: 4 }, 'ERR_SHAPE'],
      [{ rank: -1 }, 'ERR_ARGUMENT'],
      [{ rank: 9 }, 'ERR_ARGUMENT'],
      [{ rank: 2 ** 31 - 1 }, 'ERR_ARGUMENT'],
      [{ rank: 3 }, 'ERR_SHAPE'],
      [{ v: new Float64Array(1) }, 'ERR_SHAPE'],
      [{ key: new Int32Array(1) }, 'ERR_SHAPE'],
      [
        { query: new Int32Array(0), key: new Int32Array(0), coefficients: new Float32Array(0) },
        'ERR_ARGUMENT',
      ],
      [{ query: new Int32Array(30).fill(20) }, 'ERR_RANGE'],
      [{ key: new Int32Array(30).fill(-1) }, 'ERR_RANGE'],
      [{ k: narrow }, 'ERR_SHAPE'],
      [{ k: odd }, 'ERR_SHAPE'],
    ]) {
      await t.throwsAsync(async () => call(more), { code }, JSON.stringify(more))
    }
    for (const more of [{ q: context }, { u: undefined }, { coefficients: undefined }, { draws: '3' }]) {
      await t.throwsAsync(async () => call(more), { instanceOf: TypeError })
    }
    const unsent = { ...productsRequest({ q, k }), q: queries() }
    await t.throwsAsync(async () => addon.largestOfProducts(job(), context, unsent), { code: 'ERR_ARGUMENT' })
  })

  test('a few hundred calls with arguments at random: refused, or harmless', (t) => {
    const script = fileURLToPath(new URL('../helpers/boundary-fuzz.js', import.meta.url))
    const args = ['--expose-gc', script, '2', '400', library]
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    t.is(signal, null)
    t.is(status, 0, stderr + stdout)
    t.true(JSON.parse(stdout).refusals > 200, stdout)
  })
}

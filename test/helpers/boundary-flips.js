/** The addon's call for sign flips, with what is wrong about its arguments, on any backend. */

import { addon, flipsRequest, job, keys, queries, rows } from './addon-calls.js'

export async function flipsBoundary(t, context) {
  const q = await addon.rowsUpload(job(), context, queries())
  const k = await addon.rowsUpload(job(), context, keys())
  const call = (more) => addon.largestOfFlips(job(), context, { ...flipsRequest({ q, k }), ...more })
  t.is((await call()).length, 4 * 3 * 2)
  t.is((await call({ rank: 0, u: undefined, v: undefined, components: 1 })).length, 4 * 3)

  // More heads than are said beside the handle.
  const said = { rows: q, shape: [1, 20, 1, 8], strides: [0, 8, 8, 1], dtype: 0 }
  t.is((await call({ q: said })).length, 4 * 3 * 2)

  const narrow = { rows: await addon.rowsUpload(job(), context, rows([1, 20, 2, 7], 1)) }
  const odd = { rows: await addon.rowsUpload(job(), context, rows([1, 20, 3, 8], 1)) }
  const short = { rows: await addon.rowsUpload(job(), context, rows([1, 19, 2, 8], 1)) }
  for (const [more, code] of [
    [{ draws: 0 }, 'ERR_ARGUMENT'],
    [{ draws: -1 }, 'ERR_ARGUMENT'],
    [{ draws: 65536 }, 'ERR_ARGUMENT'],
    [{ draws: 33 }, 'ERR_SHAPE'],
    [{ rank: -1 }, 'ERR_ARGUMENT'],
    [{ rank: 9 }, 'ERR_ARGUMENT'],
    [{ rank: 2 ** 31 - 1 }, 'ERR_ARGUMENT'],
    [{ rank: 3 }, 'ERR_SHAPE'],
    [{ v: new Float64Array(1) }, 'ERR_SHAPE'],
    [{ u: new Float64Array(64).fill(Number.NaN) }, 'ERR_ARGUMENT'],
    [{ components: 0 }, 'ERR_ARGUMENT'],
    [{ components: 4 }, 'ERR_ARGUMENT'],
    [{ threads: -1 }, 'ERR_ARGUMENT'],
    [{ heads: Int32Array.of(0, 1, 2, 4) }, 'ERR_RANGE'],
    [{ units: new Int32Array(1) }, 'ERR_SHAPE'],
    [{ units: new Int32Array(20) }, 'ERR_RANGE'],
    [{ units: new Int32Array(20).fill(-1) }, 'ERR_RANGE'],
    [{ unitCount: 2 ** 40 }, 'ERR_ARGUMENT'],
    [{ coefficients: new Float32Array(0), units: new Int32Array(0) }, 'ERR_ARGUMENT'],
    [{ flips: new Uint32Array(9) }, 'ERR_SHAPE'],
    [{ k: narrow }, 'ERR_SHAPE'],
    [{ k: odd }, 'ERR_SHAPE'],
    [{ k: short }, 'ERR_SHAPE'],
    [{ q: queries() }, 'ERR_ARGUMENT'],
  ]) {
    await t.throwsAsync(async () => call(more), { code }, JSON.stringify(more))
  }
  for (const more of [
    { q: context },
    { u: undefined },
    { coefficients: undefined },
    { draws: '3' },
    { flips: new Int32Array(10) },
  ]) {
    await t.throwsAsync(async () => call(more), { instanceOf: TypeError })
  }
}

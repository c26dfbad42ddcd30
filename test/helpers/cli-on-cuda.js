/**
 * `qkspace decompose` and `qkspace sweep` from a bundled model to a document, with `--backend cuda` beside `--backend cpu`.
 */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { bundledFile } from '../../dist/bundled/files.js'
import { runCommand } from './command.js'
import { temporaryFolder } from './files.js'

/** Of the largest singular value; of a null value (lib/backend/backend.ts, largestOfFlips). */
const SINGULAR = 1e-5
const NULL = 1e-3

/**
 * `tested`: the heads whose ranks are tested. A head that is discovered takes ten thousand draws, which the emulator is
 * too slow for.
 * @param {import('ava').TestFn} test
 * @param {{ backend: string, prompts: number, tested: string }} options
 */
export function cliOnCuda(test, { backend, prompts, tested }) {
  const folder = temporaryFolder(test)
  const set = path.join(folder, 'boxes.jsonl')
  const input = [
    ...['--model', bundledFile('boxes.onnx')],
    ...['--tokenizer', bundledFile('boxes.tokenizer.json')],
    ...['--prompts', set],
  ]

  test.before('a prompt set is written', async (t) => {
    const family = ['prompts', 'boxes', '--variant', 'order', '--pairs', '3']
    const { status, stderr } = await runCommand(folder, [...family, '--prompts', `${prompts}`, '--out', set])
    t.is(status, 0, stderr)
  })

  /** What the command prints as JSON, on both backends. */
  async function both(t, command, options) {
    const documents = []
    for (const name of ['cpu', backend]) {
      const out = path.join(folder, `${command}-${documents.length}.json`)
      const rest = ['--seed', '1', '--nulls', '2', '--backend', name, '--out', out, '--json']
      const { status, stdout, stderr } = await runCommand(folder, [command, ...input, ...options, ...rest])
      t.is(status, 0, stderr)
      documents.push(JSON.parse(stdout))
    }
    return documents
  }

  function near(t, found, expected, allowed, what) {
    t.is(found.length, expected.length, what)
    const most = Math.max(...expected.map(Math.abs), 0)
    found.forEach((x, i) => {
      t.true(Math.abs(x - expected[i]) <= allowed * most, `${what}: ${x}, expected ${expected[i]}`)
    })
  }

  /** The tests of a head: the same signs, so the same draws, but for a value that is nearly tied with the observed one. */
  function sameTest(t, found, expected, what) {
    t.is(found.draws, expected.draws, what)
    t.is(found.units, expected.units, what)
    for (const kind of ['effect', 'interaction']) {
      const tied = 2 / (expected.draws + 1)
      t.true(Math.abs(found.p[kind] - expected.p[kind]) <= tied, `${what}: p of the ${kind} ${found.p[kind]}`)
    }
    const values = ({ statistic, null: drawn }) => [statistic, drawn.mean, drawn.p95]
    near(t, values(found), values(expected), NULL, `${what}: null`)
  }

  test.serial(
    `decompose --backend ${backend}: ranks and singular values by energy, of every head`,
    async (t) => {
      const [cpu, cuda] = await both(t, 'decompose', ['--rank', 'energy:0.99'])
      t.is(cpu.backend, 'cpu')
      t.is(cuda.backend, 'cuda')
      t.deepEqual(Object.keys(cuda.heads), Object.keys(cpu.heads))
      for (const [head, { order }] of Object.entries(cpu.heads)) {
        t.true(order.rank > 0)
        t.is(cuda.heads[head].order.rank, order.rank, head)
        near(t, cuda.heads[head].order.s, order.s, SINGULAR, head)
      }
    },
  )

  test.serial(`decompose --backend ${backend}: ranks and p-values by the test`, async (t) => {
    const [cpu, cuda] = await both(t, 'decompose', ['--heads', tested])
    for (const [head, { order }] of Object.entries(cpu.heads)) {
      t.is(cuda.heads[head].order.rank, order.rank, head)
      near(t, cuda.heads[head].order.s, order.s, SINGULAR, head)
      sameTest(t, cuda.heads[head].order, order, head)
    }
  })

  test.serial(`sweep --backend ${backend}: the same rows`, async (t) => {
    const [cpu, cuda] = await both(t, 'sweep', ['--heads', tested, '--held-out', '8'])
    t.is(cuda.backend.name, 'cuda')
    t.true(cpu.rows.length > 0)
    t.is(cuda.rows.length, cpu.rows.length)
    cpu.rows.forEach((row, i) => {
      const what = `${row.head} ${row.contrast}`
      t.is(`${cuda.rows[i].head} ${cuda.rows[i].contrast}`, what)
      t.is(cuda.rows[i].rank, row.rank, what)
      sameTest(
        t,
        { ...cuda.rows[i], null: cuda.rows[i].statisticNull },
        { ...row, null: row.statisticNull },
        what,
      )
    })
    // What sweep wrote is what it printed.
    t.deepEqual(JSON.parse(readFileSync(path.join(folder, 'sweep-1.json'), 'utf8')).rows, cuda.rows)
  })
}

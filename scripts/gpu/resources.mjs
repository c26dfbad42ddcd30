/**
 * What the compiler gives the CUDA kernels, by architecture: registers, spills, shared memory. Needs nvcc, no GPU. The
 * emulator (test/cuda-on-host) reads what is written, to refuse launches that a device refuses.
 *
 *   npm run cuda:resources          writes bench/results/cuda-resources.txt
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const ARCHITECTURES = ['sm_80', 'sm_90a']

const root = fileURLToPath(new URL('../../', import.meta.url))
const sources = readdirSync(path.join(root, 'native', 'cuda'), { recursive: true })
  .filter((name) => name.endsWith('.cu'))
  .sort()
const rows = ARCHITECTURES.flatMap((architecture) => sources.flatMap((name) => resources(architecture, name)))
const version = /release .*$/m.exec(run('nvcc', ['--version']).stdout)[0]
const header = ['architecture', 'registers', 'spilled', 'stack', 'shared', 'barriers', 'threads', 'kernel']
const nameColumn = header.indexOf('kernel')
const table = [header, ...rows]
const widths = header.map((_, c) => Math.max(...table.map((row) => row[c].length)))
const lines = table.map((row) =>
  row
    .map((cell, c) => (c === 0 || c === nameColumn ? cell.padEnd(widths[c]) : cell.padStart(widths[c])))
    .join('  ')
    .trimEnd(),
)
const out = path.join(root, 'bench', 'results', 'cuda-resources.txt')
const about = [
  `Resources of the CUDA kernels by nvcc ${version}, -O3 -Xptxas -v; written by 'npm run cuda:resources'.`,
  'Registers a thread; bytes spilled (stores + loads) and of stack a thread; bytes of static shared memory a block:',
  'dynamic shared memory is asked for at the launch, and not counted. Threads: the most that a block may have.',
]
writeFileSync(out, `${[...about, '', ...lines].join('\n')}\n`)
process.stdout.write(`${lines.join('\n')}\n\nwritten ${path.relative(process.cwd(), out)}\n`)

/** Rows of the kernels of one file. */
function resources(architecture, name) {
  const kept = mkdtempSync(path.join(tmpdir(), 'qkspace-cuda-resources-'))
  const { stderr } = run('nvcc', [
    '-std=c++17',
    '-O3',
    `-arch=${architecture}`,
    '-Xptxas',
    '-v',
    '-keep',
    '-keep-dir',
    kept,
    '-I',
    path.join(root, 'native'),
    '-c',
    path.join(root, 'native', 'cuda', name),
    '-o',
    '/dev/null',
  ])
  // Its name has the architecture in it for some of them.
  const ptx = readdirSync(kept).find((file) => file.endsWith('.ptx'))
  const threads = launchBounds(readFileSync(path.join(kept, ptx), 'utf8'))
  rmSync(kept, { recursive: true })
  const found = []
  for (const part of stderr.split('Compiling entry function').slice(1)) {
    const symbol = /'([^']+)'/.exec(part)[1]
    const number = (pattern) => Number(pattern.exec(part)?.[1] ?? 0)
    const figures = [
      number(/Used (\d+) registers/),
      number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
      number(/(\d+) bytes stack frame/),
      number(/(\d+) bytes smem/),
      number(/used (\d+) barriers/),
      threads.get(symbol) ?? 1024,
    ]
    found.push([architecture, ...figures.map(String), readable(symbol)])
  }
  return found
}

/** Threads a block by symbol, of the kernels that have __launch_bounds__. */
function launchBounds(ptx) {
  const bounded = /\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)/g
  return new Map([...ptx.matchAll(bounded)].map(([, symbol, threads]) => [symbol, Number(threads)]))
}

/** A kernel's name and template arguments, without its parameters. */
function readable(symbol) {
  const { stdout } = run('c++filt', [symbol])
  const name = stdout.trim().replace(/\(anonymous namespace\)::|qkspace::|^void /g, '')
  return name.slice(0, name.indexOf('('))
}

function run(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 })
  if (result.status === 0) {
    return result
  }
  process.stderr.write(`${command}: ${result.error?.message ?? result.stderr}\n`)
  process.exit(1)
}

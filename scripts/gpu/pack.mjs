/**
 * Packs what `test:gpu` and `bench:gpu` need on a machine with a GPU and its driver but no Node and no registry: one
 * folder with an archive and `run.sh`, which unpacks and runs it.
 *
 *   npm run pack:gpu [-- --out FOLDER] [--architectures all]        default build/gpu/packed
 */

import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: 'build/gpu/packed' },
    architectures: { type: 'string', default: 'all' },
  },
})
const MOST_BYTES = 60e6
/** What runs the tests; with it, and with what the package itself needs, go all that they depend on. */
const RUNNER = ['ava']
/** What onnxruntime-node loads on the processor; its CUDA provider is not needed. */
const ONNX_RUNTIME = ['onnxruntime_binding.node', 'libonnxruntime.so.1']

const root = fileURLToPath(new URL('../../', import.meta.url))
const at = (...parts) => path.join(root, ...parts)
const out = path.resolve(root, options.out)
const tree = at('build', 'gpu', 'tree')
const built = at('build', 'gpu', 'addon')

build()
fillTree()
compress()
const size = readdirSync(out).reduce((sum, name) => sum + statSync(path.join(out, name)).size, 0)
process.stdout.write(`${path.relative(root, out)}: ${(size / 1e6).toFixed(1)} MB\n`)
if (size > MOST_BYTES) {
  process.stderr.write(`that is more than ${MOST_BYTES / 1e6} MB\n`)
  process.exit(1)
}

/** The addon and the CUDA library, in a folder of their own: the checkout's are for this machine's GPU alone. */
function build() {
  const cmake = at('node_modules', 'cmake-js', 'bin', 'cmake-js')
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [cmake, 'compile', '--parallel', '2', '--out', built],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      env: { ...process.env, QKSPACE_CUDA_ARCHITECTURES: options.architectures },
    },
  )
  if (status === 0 && existsSync(path.join(built, 'Release', 'qkspace_cuda.so'))) {
    return
  }
  process.stderr.write(`${stdout}${stderr}\nthe CUDA backend was not built\n`)
  process.exit(1)
}

function fillTree() {
  rmSync(tree, { recursive: true, force: true })
  const to = (...parts) => path.join(tree, ...parts)
  for (const folder of ['bin', 'build/Release', 'bench']) {
    mkdirSync(to(folder), { recursive: true })
  }

  copyFileSync(process.execPath, to('bin', 'node'))
  execFileSync('strip', [to('bin', 'node')])
  for (const name of ['qkspace.node', 'qkspace_cuda.so']) {
    copyFileSync(path.join(built, 'Release', name), to('build', 'Release', name))
    execFileSync('strip', ['--strip-unneeded', to('build', 'Release', name)])
  }

  copyFileSync(at('package.json'), to('package.json'))
  copyFileSync(at('ava.config.js'), to('ava.config.js'))
  const code = (file) => !/\.(map|d\.ts)$/.test(file)
  cpSync(at('dist'), to('dist'), { recursive: true, filter: code })
  cpSync(at('lib', 'bundled'), to('lib', 'bundled'), { recursive: true })
  for (const name of ['data.mjs', 'matrices.mjs', 'report.mjs']) {
    copyFileSync(at('bench', name), to('bench', name))
  }
  for (const folder of ['bench/gpu', 'scripts/gpu']) {
    cpSync(at(folder), to(folder), { recursive: true })
  }
  for (const file of testFiles()) {
    mkdirSync(path.dirname(to(file)), { recursive: true })
    copyFileSync(at(file), to(file))
  }

  const { dependencies } = JSON.parse(readFileSync(at('package.json'), 'utf8'))
  for (const name of closure([...RUNNER, ...Object.keys(dependencies)])) {
    cpSync(at('node_modules', name), to('node_modules', name), {
      recursive: true,
      dereference: true,
      filter: (file) => code(file) && !isForeign(file),
    })
  }
  const runtime = ['node_modules', 'onnxruntime-node', 'bin', 'napi-v6', process.platform, process.arch]
  mkdirSync(to(...runtime), { recursive: true })
  for (const name of ONNX_RUNTIME) {
    copyFileSync(at(...runtime, name), to(...runtime, name))
  }
  for (const name of readdirSync(to('node_modules'), { recursive: true })) {
    if (/\.(node|so(\.\d+)*)$/.test(name)) {
      execFileSync('strip', ['--strip-unneeded', to('node_modules', name)])
    }
  }
  writeFileSync(to('packed.json'), `${JSON.stringify(origin(), null, 1)}\n`)
}

/** The tests that need a GPU, and what they import of the helpers, from the root. */
function testFiles() {
  const tests = readdirSync(at('test'), { recursive: true })
    .filter((name) => name.endsWith('-cuda.test.js'))
    .map((name) => path.join('test', name))
  const found = new Set()
  const add = (file) => {
    if (found.has(file)) {
      return
    }
    found.add(file)
    const imports = readFileSync(at(file), 'utf8').matchAll(/from '(\.[^']+)'/g)
    for (const [, name] of imports) {
      const target = path.join(path.dirname(file), name)
      if (target.startsWith('test')) {
        add(target)
      }
    }
  }
  tests.forEach(add)
  return [...found]
}

/** Native code that this machine does not load: of other machines, and all of onnxruntime-node, which is picked. */
function isForeign(file) {
  const here = `${process.platform}-${process.arch}-gnu.node`
  return (
    /onnxruntime-node\/bin$/.test(file) || (/\/tokenizers\.[^/]+\.node$/.test(file) && !file.endsWith(here))
  )
}

function closure(names) {
  const found = new Set()
  const add = (name) => {
    const manifest = at('node_modules', name, 'package.json')
    // A dependency that lies inside of the package that needs it comes with it.
    if (found.has(name) || !existsSync(manifest)) {
      return
    }
    found.add(name)
    Object.keys(JSON.parse(readFileSync(manifest, 'utf8')).dependencies ?? {}).forEach(add)
  }
  names.forEach(add)
  return [...found]
}

/** What was packed, for the results: a machine without the repository cannot say. */
function origin() {
  const said = (command, ...args) => spawnSync(command, args, { cwd: root, encoding: 'utf8' }).stdout?.trim()
  return {
    commit: said('git', 'rev-parse', 'HEAD') || undefined,
    changed: Boolean(said('git', 'status', '--porcelain')),
    packed: new Date().toISOString(),
    nvcc: /release .*$/m.exec(said('nvcc', '--version') ?? '')?.[0],
    architectures: options.architectures,
  }
}

function compress() {
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  execFileSync('tar', ['-cJf', path.join(out, 'qkspace-gpu.tar.xz'), '-C', tree, '.'], {
    env: { ...process.env, XZ_OPT: '-9 -T1' },
  })
  copyFileSync(at('scripts', 'gpu', 'run.sh'), path.join(out, 'run.sh'))
}

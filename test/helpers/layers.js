/**
 * The order of the folders of `lib/` and `native/`, and what breaks it: an import of something higher, a circle of
 * files, a folder or file that has outgrown its purpose. Works on texts, so that faults can be planted.
 */

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * Parts from the lowest to the highest; parts of one line do not import each other. A path is a folder or a file
 * without its ending, and the longest that fits is a file's part.
 */
export const LAYERS = [
  ['lib/errors', 'lib/versions', 'lib/bundled'],
  ['lib/validate'],
  ['lib/math'],
  ['lib/store'],
  ['lib/backend'],
  ['lib/model/onnx/proto'],
  ['lib/model/onnx'],
  ['lib/model/onnx/flatten'],
  ['lib/model/candidate', 'lib/model/hub', 'lib/model/tokenizer'],
  ['lib/model/source'],
  ['lib/model/fused', 'lib/model/inference'],
  ['lib/model/sites/search'],
  ['lib/model/sites'],
  ['lib/model/graphs'],
  ['lib/model'],
  ['lib/contrast'],
  ['lib/contrast/check/units'],
  ['lib/contrast/check', 'lib/contrast/families'],
  ['lib/capture'],
  ['lib/capture/one-prompt', 'lib/capture/terms'],
  ['lib/covariance'],
  ['lib/spectrum'],
  ['lib/attribution'],
  ['lib/intervention'],
  ['lib/explanation', 'lib/sweep/roles'],
  ['lib/sweep'],
  ['lib/interchange', 'lib/citation'],
  ['lib/toy'],
  ['lib/paper'],
  ['lib/report/finding'],
  ['lib/report/page/shared'],
  ['lib/report/page/drawing'],
  ['lib/report/page/sections'],
  ['lib/report/page'],
  ['lib/report'],
  ['lib/cluster'],
  ['lib/cli/common'],
  ['lib/cli'],
  ['lib/arrays'],
  ['lib/index'],
  ['native/abi', 'native/portable'],
  ['native/common'],
  ['native/cpu', 'native/cuda/runtime'],
  ['native/cuda/rows'],
  ['native/cuda/products'],
  ['native/cuda/covariance', 'native/cuda/svd'],
  ['native/cuda'],
  ['native/addon'],
]

const MOST_FILES = 15
const MOST_LINES = 400
/** Written by a generator. */
const GENERATED = ['lib/model/onnx/proto/onnx_pb.ts']
const SOURCE = /\.(ts|js|css|cc|cu|cuh|h|map|proto|yaml)$/

/** Texts of the files under a folder, by their path from the root. */
export function readTree(root, folder) {
  const files = new Map()
  const walk = (at) => {
    for (const entry of readdirSync(path.join(root, at), { withFileTypes: true })) {
      const inner = `${at}/${entry.name}`
      if (entry.isDirectory()) {
        walk(inner)
      } else {
        files.set(inner, SOURCE.test(entry.name) ? readFileSync(path.join(root, inner), 'utf8') : '')
      }
    }
  }
  walk(folder)
  return files
}

/** What each file imports or includes of the others. */
export function importsOf(files) {
  const imports = new Map()
  for (const [file, text] of files) {
    const native = file.startsWith('native/')
    const found = native ? includes(file, text, files) : modules(file, text, files)
    imports.set(file, [...new Set(found)])
  }
  return imports
}

function modules(file, text, files) {
  const named =
    /\bfrom\s+'(\.[^']+)'|\bimport\s*\(?\s*'(\.[^']+)'|new URL\('(\.[^']+\.js)', import\.meta\.url\)|@import "(\.[^"]+)"/g
  return [...text.matchAll(named)].flatMap((match) => {
    const target = path.posix.join(path.posix.dirname(file), match.slice(1).find(Boolean))
    return [target, target.replace(/\.js$/, '.ts')].find((name) => files.has(name)) ?? []
  })
}

function includes(file, text, files) {
  return [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].flatMap(([, name]) => {
    const beside = path.posix.join(path.posix.dirname(file), name)
    return [`native/${name}`, beside].find((target) => files.has(target)) ?? []
  })
}

/** A sentence for every import that goes up, or sideways between parts that do not know each other. */
export function upwardImports(imports) {
  const parts = LAYERS.flatMap((names, rank) => names.map((name) => ({ name, rank })))
  const partOf = (file) => {
    const bare = file.replace(/\.[a-z]+$/, '')
    const fits = parts.filter(({ name }) => bare === name || file.startsWith(`${name}/`))
    return fits.reduce((a, b) => (b.name.length > a.name.length ? b : a), { name: '', rank: -1 })
  }
  return [...imports].flatMap(([file, targets]) => {
    const own = partOf(file)
    if (own.rank < 0) {
      return [`${file} lies in no layer`]
    }
    return targets.flatMap((target) => {
      const other = partOf(target)
      if (other.name === own.name || other.rank < own.rank) {
        return []
      }
      return [`${file} (${own.name}) imports ${target} (${other.name})`]
    })
  })
}

/** Files that import each other round in a circle, each circle once. */
export function circles(imports) {
  const order = new Map()
  const lowest = new Map()
  const stack = []
  const found = []
  const visit = (file) => {
    order.set(file, order.size)
    lowest.set(file, order.get(file))
    stack.push(file)
    for (const target of imports.get(file) ?? []) {
      if (!order.has(target)) {
        visit(target)
      }
      if (stack.includes(target)) {
        lowest.set(file, Math.min(lowest.get(file), lowest.get(target)))
      }
    }
    if (lowest.get(file) !== order.get(file)) {
      return
    }
    const circle = stack.splice(stack.indexOf(file))
    if (circle.length > 1 || imports.get(file)?.includes(file)) {
      found.push(circle.sort())
    }
  }
  for (const file of imports.keys()) {
    if (!order.has(file)) {
      visit(file)
    }
  }
  return found
}

/** Folders with too many files, and files that are too long. */
export function overgrown(files) {
  const counts = new Map()
  for (const file of files.keys()) {
    // What describes a folder does not crowd it.
    if (path.posix.basename(file) === 'README.md') {
      continue
    }
    const folder = path.posix.dirname(file)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  const folders = [...counts].filter(([, count]) => count > MOST_FILES)
  const long = [...files]
    .filter(([file]) => SOURCE.test(file) && !GENERATED.includes(file))
    .map(([file, text]) => [file, text.split('\n').length - 1])
    .filter(([, lines]) => lines > MOST_LINES)
  return [
    ...folders.map(([folder, count]) => `${folder} holds ${count} files`),
    ...long.map(([file, lines]) => `${file} has ${lines} lines`),
  ]
}

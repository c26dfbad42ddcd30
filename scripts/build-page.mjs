/**
 * Bundles the report's page (lib/report/page) with the plotting libraries that it uses into one script and one style
 * sheet, and puts the libraries' licences at the head of the script. Run after TypeScript, which empties `dist`.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const out = path.join(root, 'dist', 'report')

const { metafile, outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: ['lib/report/page/main.js', 'lib/report/page/page.css'],
  outdir: out,
  write: false,
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['es2022'],
  charset: 'utf8',
  legalComments: 'none',
  metafile: true,
})

const text = (extension) => outputFiles.find((file) => file.path.endsWith(extension)).text
mkdirSync(out, { recursive: true })
writeFileSync(path.join(out, 'page.js'), `/*\n${licences()}*/\n${text('.js')}`)
writeFileSync(path.join(out, 'page.css'), text('.css'))

/** Each licence once, with the packages that are under it. */
function licences() {
  const folders = Object.keys(metafile.inputs).flatMap(
    (file) => file.match(/^node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? [],
  )
  const byText = new Map()
  for (const folder of [...new Set(folders)].sort()) {
    const text = readFileSync(path.join(root, folder, 'LICENSE'), 'utf8').trim()
    byText.set(text, [...(byText.get(text) ?? []), folder.replace('node_modules/', '')])
  }
  return [...byText].map(([text, packages]) => `${packages.join(', ')}\n\n${text}\n\n`).join('')
}

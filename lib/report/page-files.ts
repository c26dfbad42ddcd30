/** The page's own script and style, and the plotting library, as text to be put into the page. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** In the order of their dependencies. */
const SCRIPTS = [
  'library.js',
  'dom.js',
  'theme.js',
  'figure.js',
  'selection.js',
  'overview.js',
  'cells.js',
  'maps.js',
  'spectrum.js',
  'scatter.js',
  'geometry.js',
  'grouped-bars.js',
  'interventions.js',
  'explained.js',
  'tokens.js',
  'stacked-scores.js',
  'attribution.js',
  'paper.js',
  'main.js',
]

const pageFile = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../../lib/report/page/${name}`, import.meta.url)), 'utf8')

export const pageStyle = (): string => pageFile('page.css')

/**
 * The page's modules as one script. Modules inside a page cannot import each other by name, so that each becomes
 * a function that gives its exports: `const dom = (() => { ...; return { el, number } })()`.
 */
export function pageScript(): string {
  const modules = SCRIPTS.map((file) => {
    const source = pageFile(file)
    const exported = [...source.matchAll(/^export (?:const|function) (?:\{ (.+) \}|(\w+))/gm)]
    const body = source
      .replace(
        /^import (\{[^}]*\}) from '\.\/([\w-]+)\.js'$/gm,
        (_, imported: string, name: string) => `const ${imported} = ${variable(name)}`,
      )
      .replace(/^export (?=const|function)/gm, '')
    const names = exported.map(([, several, one]) => several ?? one).join(', ')
    return `const ${variable(path.basename(file, '.js'))} = (() => {\n${body}\nreturn { ${names} }\n})()\n`
  })
  return `(() => {\n'use strict'\n${modules.join('\n')}})()\n`
}

/** The exports of a module, as in `groupedBarsModule` of `grouped-bars`. */
const variable = (name: string): string =>
  `${name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase())}Module`

/** D3 and Observable Plot as their packages ship them for browsers. */
export function plotScripts(): string[] {
  const require = createRequire(import.meta.url)
  // Neither package exports its bundle by that path; it lies beside the package's entry.
  const beside = (entry: string, bundle: string) => {
    const root = path.dirname(path.dirname(require.resolve(entry)))
    return readFileSync(path.join(root, bundle), 'utf8')
  }
  return [beside('d3', 'dist/d3.min.js'), beside('@observablehq/plot', 'dist/plot.umd.min.js')]
}

/** The page's script and style, as text to be put into the page; scripts/build-page.mjs has bundled them. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const bundled = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`./${name}`, import.meta.url)), 'utf8')

export const pageStyle = (): string => bundled('page.css')

/** With the plotting libraries, and their licences at its head. */
export const pageScript = (): string => bundled('page.js')

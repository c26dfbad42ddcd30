/** What comments cite is there: headings of docs/method.md, and contracts by their number. */

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = fileURLToPath(new URL('../', import.meta.url))
const headings = (file) =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(/^#{2,3} (.+)$/gm)].map(([, text]) => text)

/** Texts of source files, comments joined over their line breaks. */
function sources() {
  const found = []
  const walk = (folder) => {
    for (const entry of readdirSync(path.join(root, folder), { withFileTypes: true })) {
      const inner = path.join(folder, entry.name)
      if (entry.isDirectory()) {
        walk(inner)
      } else if (/\.(ts|js|mjs|cc|h|cu|cuh)$/.test(entry.name) && !inner.endsWith('method.test.js')) {
        found.push({
          file: inner,
          text: readFileSync(path.join(root, inner), 'utf8').replace(/\s*\n\s*(\*|\/\/) ?/g, ' '),
        })
      }
    }
  }
  for (const folder of ['lib', 'native', 'test', 'scripts']) {
    walk(folder)
  }
  return found
}

test('headings and contracts that comments cite exist', (t) => {
  const method = headings('docs/method.md')
  const contracts = headings('docs/contracts.md')
  let cited = 0
  for (const { file, text } of sources()) {
    for (const [, quoted, numbers] of text.matchAll(
      /docs\/method\.md, (?:"([^"]+)"|Rank((?:[ ,]|and|to|\d)*\d)?)/g,
    )) {
      cited += 1
      if (quoted) {
        t.true(method.includes(quoted), `${file}: ${quoted}`)
      }
      for (const number of numbers?.match(/\d+/g) ?? []) {
        t.true(
          method.some((text) => text.startsWith(`Rank ${number}:`)),
          `${file}: Rank ${number}`,
        )
      }
    }
    for (const [, number] of text.matchAll(/\bcontract (\d+)\b/g)) {
      cited += 1
      t.true(
        contracts.some((text) => text.startsWith(`Contract ${number}:`)),
        `${file}: contract ${number}`,
      )
    }
  }
  t.true(cited > 40, `${cited}`)
  t.deepEqual(
    sources()
      .filter(({ text }) => /\(design\b|design: /.test(text))
      .map(({ file }) => file),
    [],
  )
})

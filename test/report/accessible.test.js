/** What axe-core finds on the pages: nothing serious, in light and dark. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'ava'
import { explain, writeReport } from '../../dist/index.js'
import { browserFor, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { emptyResult, openBoxes, testedPage, testedParts } from '../helpers/report-parts.js'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const folder = temporaryFolder(test)
const open = browserFor(test)
const files = {}

test.before(async () => {
  files['with a finding'] = await testedPage(folder, await testedParts())
  files['without a finding'] = path.join(folder, 'empty.html')
  await writeReport(files['without a finding'], {
    results: [{ name: 'shuffled', value: await emptyResult() }],
  })
  files['of an explanation'] = path.join(folder, 'why.html')
  const text = 'The rope is in Box N, the nail is in Box D. Which box is the rope in? Box'
  await writeReport(files['of an explanation'], {
    explanations: [{ name: 'why', value: await explain(await openBoxes(), { text }) }],
  })
})

const browserTest = withBrowser(test)

for (const name of ['with a finding', 'without a finding', 'of an explanation']) {
  for (const colorScheme of ['light', 'dark']) {
    browserTest(`a page ${name}, ${colorScheme}`, async (t) => {
      const { page } = await open(files[name], { colorScheme })
      await showAll(page, { unfold: true })
      const { violations } = await runAxe(page)
      const serious = violations
        .filter(({ impact }) => ['serious', 'critical'].includes(impact))
        .map(
          ({ id, nodes }) =>
            `${id}: ${nodes.length}, ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`,
        )
      t.deepEqual(serious, [])
    })
  }
}

/** Evaluated by the debugger, which no policy of the page concerns. */
async function runAxe(page) {
  await page.evaluate(axe)
  // What the script of axe-core defines.
  return page.evaluate(() => /** @type {any} */ (window).axe.run(document, { resultTypes: ['violations'] }))
}

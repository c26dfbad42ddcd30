/**
 * Makes docs/finding.png, the picture of the README: what the report of `qkspace demo` opens with, in a real browser.
 * Give a report that is there already, or the demo is run. Needs /usr/bin/chromium.
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'

const root = fileURLToPath(new URL('../../', import.meta.url))
const picture = path.join(root, 'docs', 'finding.png')
const WIDTH = 1160

const folder = mkdtempSync(path.join(os.tmpdir(), 'qkspace-picture-'))
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
try {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 1400 }, deviceScaleFactor: 1.5 })
  await page.goto(pathToFileURL(path.resolve(process.argv[2] ?? demoReport())).href)
  await page.waitForSelector('#finding figure svg')
  // What a picture cannot do.
  await page.addStyleTag({
    content: '.files, .finding .live { display: none } figure { border-color: transparent }',
  })
  await page.waitForTimeout(500)
  await page.locator('.finding').screenshot({ path: picture })
  console.log(`wrote ${path.relative(root, picture)}`)
} finally {
  await browser.close()
  rmSync(folder, { recursive: true, force: true })
}

function demoReport() {
  const { status } = spawnSync(
    process.execPath,
    [path.join(root, 'dist', 'cli', 'main.js'), 'demo', '--out', folder],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  if (status !== 0) {
    throw new Error('the demo failed')
  }
  return path.join(folder, 'report.html')
}

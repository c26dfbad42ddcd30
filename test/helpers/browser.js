/** A headless browser that reaches nothing but the page it is given. */

import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { chromium } from 'playwright-core'

const executablePath = '/usr/bin/chromium'

const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** `test.serial`, for pages share the cores; or `test.skip` under a name that says why, where chromium is not installed. */
export function withBrowser(test) {
  if (existsSync(executablePath)) {
    return test.serial
  }
  return (title, ...rest) => test.skip(`${title} (needs ${executablePath})`, ...rest)
}

/** A browser that is closed when the test file ends; started by the first page. */
export function browserFor(test) {
  let browser
  test.after.always(() => browser?.then((b) => b.close()))
  /**
   * Opens a file; `seen` collects the page's complaints and every request but the one for the file itself.
   */
  return async (file, { width = 1280, colorScheme = 'light', hash = '' } = {}) => {
    browser ??= chromium.launch({ executablePath, args })
    const context = await (await browser).newContext({
      viewport: { width, height: 900 },
      colorScheme,
      acceptDownloads: true,
    })
    const address = pathToFileURL(file).href
    const seen = { errors: [], requests: [] }
    await context.route('**/*', (route) => {
      const url = route.request().url()
      if (url === address) {
        return route.continue()
      }
      seen.requests.push(url)
      return route.abort()
    })
    const page = await context.newPage()
    // Other test files may keep every core busy.
    page.setDefaultTimeout(120_000)
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) {
        seen.errors.push(message.text())
      }
    })
    page.on('pageerror', (error) => seen.errors.push(error.stack ?? `${error}`))
    page.on('request', (request) => {
      const url = request.url()
      if (!/^(data|blob):/.test(url) && url !== address) {
        seen.requests.push(url)
      }
    })
    await page.goto(`${address}${hash}`)
    await page.waitForFunction(() => document.documentElement.dataset.ready)
    return { page, seen }
  }
}

/** Scrolls through the page, so that all of its figures are drawn; opens what is folded where `unfold` says so. */
export async function showAll(page, { unfold = false } = {}) {
  if (unfold) {
    await page.evaluate(() => {
      for (const details of document.querySelectorAll('details')) {
        details.open = true
      }
    })
  }
  await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))
    for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
      scrollTo(0, y)
      await frame()
      await frame()
    }
    scrollTo(0, 0)
    await frame()
  })
}

/** The document inside a page, as the page itself unpacks it. */
export const documentOf = (html) =>
  JSON.parse(gunzipSync(Buffer.from(/id="data">([^<]*)</.exec(html)[1], 'base64')).toString())

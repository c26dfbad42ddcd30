/** The report's page: one self-contained HTML file. */

import { createHash } from 'node:crypto'
import { modelName } from '../store/result-info.js'
import type { ReportDocument } from './document.js'
import { packed } from './pack.js'
import { pageScript, pageStyle } from './page-files.js'
import { trimmed } from './trim.js'

/** First characters of every report. A file with another beginning is not overwritten. */
export const REPORT_START = '<!doctype html>\n<html lang="en" data-qkspace-report="1">'

export async function reportHtml(document: ReportDocument): Promise<string> {
  const data = await packed(await trimmed(document))
  const script = insideScript(pageScript())
  return `${REPORT_START}
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy(script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${escaped(title(document))}</title>
<style>
${pageStyle()}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header id="top"></header>
<main id="main" tabindex="-1"><noscript><p>This report draws its figures with the script inside it; allow scripts to see them.</p></noscript></main>
<footer><p>Made by qkspace ${escaped(document.versions.qkspace)}. Everything shown here is inside this file; nothing is loaded or sent.</p></footer>
<script type="text/plain" id="data">${data}</script>
<script>${script}</script>
</body>
</html>
`
}

/**
 * Content security policy. Nothing is loaded from anywhere; pictures are drawn in the page. The only script is
 * identified by its hash, so that no text of a prompt can run as one. Styles of drawings are inline.
 */
function policy(script: string): string {
  const hash = createHash('sha256').update(script).digest('base64')
  return `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'`
}

function title({ results, explanations }: ReportDocument): string {
  const models = new Set([
    ...results.map(({ model }) => modelName(model)),
    ...explanations.map(({ model }) => modelName({ path: model })),
  ])
  return models.size > 0
    ? `${[...models].join(', ')}: query-key subspaces`
    : 'The paper’s figures: query-key subspaces'
}

const insideScript = (text: string): string => text.replace(/<\/(script)/gi, '<\\/$1')

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
}

/** The report's page: one HTML file that holds everything it needs. */

import { jsonText } from '../store/json-file.js'
import { modelName } from '../store/result.js'
import type { ReportDocument } from './document.js'
import { pageScript, pageStyle } from './page-files.js'

/** How every report begins; a file that begins otherwise is not overwritten. */
export const REPORT_START = '<!doctype html>\n<html lang="en" data-qkspace-report="1">'

/** Nothing is loaded, from anywhere; pictures are made in the page. */
const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

export function reportHtml(document: ReportDocument): string {
  return `${REPORT_START}
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
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
<footer><p>Made by qkspace ${escaped(document.versions.qkspace)}. Everything shown here is inside this file.</p></footer>
<script type="application/json" id="data">${insideJson(document)}</script>
<script>${insideScript(pageScript())}</script>
</body>
</html>
`
}

function title({ results }: ReportDocument): string {
  const models = new Set(results.map(({ model }) => modelName(model)))
  return models.size > 0
    ? `${[...models].join(', ')}: query-key subspaces`
    : 'The paper’s figures: query-key subspaces'
}

/** `<` would let a prompt's text end the script; JSON may write it as an escape. */
function insideJson(value: unknown): string {
  return JSON.stringify(JSON.parse(jsonText(value))).replaceAll('<', '\\u003c')
}

const insideScript = (text: string): string => text.replace(/<\/(script)/gi, '<\\/$1')

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
}

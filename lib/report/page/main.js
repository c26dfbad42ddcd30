/** Puts the page together. */

import { drawEverything, redrawAll } from './drawing/figure.js'
import { attention, reshadeAttention } from './sections/attention.js'
import { attribution, reshadeTokens } from './sections/attribution.js'
import { choices } from './sections/choices.js'
import { components } from './sections/components.js'
import { finding, reshadeFinding } from './sections/finding.js'
import { geometry } from './sections/geometry.js'
import { maps } from './sections/maps.js'
import { overview } from './sections/overview.js'
import { paper } from './sections/paper.js'
import { spectrum } from './sections/spectrum.js'
import { tests } from './sections/tests.js'
import { el, fileName, modelName } from './shared/dom.js'
import { load, report } from './shared/selection.js'
import { themeSwitch } from './shared/theme.js'

/** Names and makers of the parts that the report has; without results, only what was given beside them. */
function sections() {
  const any = report.results.length > 0
  const stored = report.explanations.length > 0
  return [
    any && ['finding', 'Finding', finding],
    (any || stored) && ['attention', 'Attention', attention],
    any && ['heads', 'All heads', maps],
    any && ['tests', 'Tests', tests],
    any && ['subspace', 'Subspace', spectrum],
    any && ['tokens', 'Tokens', components],
    any && ['geometry', 'Geometry', geometry],
    any && ['scores', 'Scores', attribution],
    report.papers.length > 0 && ['paper', 'The paper’s figures', paper],
    any && ['overview', 'Sources', overview],
  ].filter(Boolean)
}

function redraw(forPaper) {
  redrawAll()
  reshadeFinding()
  reshadeAttention()
  reshadeTokens()
  if (forPaper) {
    drawEverything()
  }
}

function title() {
  const models = new Set([
    ...report.results.map(({ model }) => modelName(model)),
    ...report.explanations.map(({ model }) => fileName(model)),
  ])
  return [...models].join(', ') || 'The paper’s figures'
}

/** A link to a part: the address keeps the selection. */
function partLink([id, text]) {
  const go = (event) => {
    event.preventDefault()
    const part = document.getElementById(id)
    part.scrollIntoView()
    part.tabIndex = -1
    part.focus({ preventScroll: true })
  }
  return el('a', { href: `#${id}`, click: go }, text)
}

async function start() {
  await load()
  const header = document.getElementById('top')
  const main = document.getElementById('main')
  const parts = sections()
  header.append(
    el('div', { class: 'masthead' }, [
      el('div', {}, [el('p', { class: 'eyebrow' }, 'Query-key subspaces'), el('h1', {}, title())]),
      themeSwitch(redraw),
    ]),
    ...(report.results.length > 0 ? [el('div', { class: 'bar' }, choices())] : []),
    el('nav', { 'aria-label': 'Parts of the report' }, parts.map(partLink)),
  )
  main.replaceChildren(...parts.map(([, , make]) => make()))
  const [, wanted] = /^#(\w+)$/.exec(location.hash) ?? []
  if (parts.some(([id]) => id === wanted)) {
    document.getElementById(wanted).scrollIntoView()
  }
  let width = main.clientWidth
  new ResizeObserver(() => {
    if (main.clientWidth === width) {
      return
    }
    width = main.clientWidth
    redraw(false)
  }).observe(main)
  document.documentElement.dataset.ready = 'true'
}

start()

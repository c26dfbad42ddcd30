/** Puts the page together. */

import { redrawAll } from './drawing/figure.js'
import { attribution, reshadeTokens } from './sections/attribution.js'
import { geometry } from './sections/geometry.js'
import { interventions } from './sections/interventions.js'
import { maps } from './sections/maps.js'
import { overview } from './sections/overview.js'
import { paper } from './sections/paper.js'
import { spectrum } from './sections/spectrum.js'
import { el, menu, modelName } from './shared/dom.js'
import { onSelect, report, select, selection } from './shared/selection.js'
import { themeSwitch } from './shared/theme.js'

/** Names and makers of the parts that the report has; without results, only what was given beside them. */
function sections() {
  const { results, attributions, interventions: edits, papers } = report
  const any = results.length > 0
  return [
    any && ['overview', 'Overview', () => [overview(), el('div', { class: 'bar' }, choices())]],
    any && ['heads', 'Layers and heads', () => [maps()]],
    any && ['head', 'One head', () => [spectrum()]],
    (any || attributions.length > 0) && ['geometry', 'Geometry', () => [geometry()]],
    (any || edits.length > 0) && ['interventions', 'Interventions', () => [interventions()]],
    (any || attributions.length > 0) && ['attribution', 'Attribution', () => [attribution()]],
    papers.length > 0 && ['paper', 'The paper’s figures', () => [paper()]],
  ].filter(Boolean)
}

/** Menus for result, contrast and head; they follow what is chosen elsewhere. */
function choices() {
  const node = el('div', { class: 'choices', role: 'group', 'aria-label': 'What this page shows' })
  const named = (names) => names.map((value) => ({ value }))
  const fill = () => {
    const active = [...node.querySelectorAll('select')].indexOf(document.activeElement)
    const { result, contrast, head } = selection
    node.replaceChildren(
      ...(report.results.length > 1
        ? [
            menu(
              'Result',
              report.results.map(({ name }, i) => ({ value: `${i}`, text: name })),
              `${report.results.indexOf(result)}`,
              (value) => select({ result: report.results[Number(value)] }),
            ),
          ]
        : []),
      menu('Contrast', named(result.prompts.contrasts), contrast, (value) => select({ contrast: value })),
      menu('Head', named(Object.keys(result.heads)), head, (value) => select({ head: value })),
    )
    node.querySelectorAll('select')[active]?.focus()
  }
  onSelect(fill)
  fill()
  return node
}

function redraw() {
  redrawAll()
  reshadeTokens()
}

function title() {
  const models = new Set(report.results.map(({ model }) => modelName(model)))
  return [...models].join(', ') || 'The paper’s figures'
}

const header = document.getElementById('top')
const main = document.getElementById('main')
header.append(
  el('div', { class: 'masthead' }, [
    el('div', {}, [el('p', { class: 'eyebrow' }, 'Query-key subspaces'), el('h1', {}, title())]),
    themeSwitch(redraw),
  ]),
  el(
    'nav',
    { 'aria-label': 'Parts of the report' },
    sections().map(([id, text]) => el('a', { href: `#${id}` }, text)),
  ),
)
main.replaceChildren(...sections().flatMap(([, , make]) => make()))

let width = main.clientWidth
new ResizeObserver(() => {
  if (main.clientWidth === width) return
  width = main.clientWidth
  redraw()
}).observe(main)

/** Menus for result, contrast and head; they follow what is chosen elsewhere. */

import { rankedFindings, standingOf } from '../../finding/evidence.ts'
import { el, menu } from '../shared/dom.js'
import { onSelect, report, select, selection } from '../shared/selection.js'

const SIGNS = { replicated: '●', discovered: '○', unresolved: '?', 'not significant': '·', untested: '' }

export function choices() {
  const node = el('div', { class: 'choices', role: 'group', 'aria-label': 'What this page shows' })
  const fill = () => {
    const active = [...node.querySelectorAll('select')].indexOf(document.activeElement)
    const { result, contrast, head } = selection
    const heads = rankedFindings(result, report.interventions, [contrast])
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
      menu(
        'Contrast',
        result.prompts.contrasts.map((value) => ({ value })),
        contrast,
        // Another contrast may be read by another head.
        (value) =>
          select({ contrast: value, head: rankedFindings(result, report.interventions, [value])[0].head }),
      ),
      menu(
        'Head',
        heads.map(({ head: value, found }) => ({
          value,
          text: [value, SIGNS[standingOf(found)]].filter(Boolean).join(' '),
        })),
        head,
        (value) => select({ head: value }),
      ),
      el('span', { class: 'signs' }, '● replicated  ○ significant  · not significant'),
    )
    node.querySelectorAll('select')[active]?.focus()
  }
  onSelect(fill)
  fill()
  return node
}

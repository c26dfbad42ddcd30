/** The one box of words that stands beside what is pointed at or focused. */

import { el } from '../shared/dom.js'

let box

/** Words stand above the element, within the window. */
export function showTip(target, words) {
  if (!box) {
    box = el('div', { class: 'tip', 'aria-hidden': 'true' })
    document.body.append(box)
  }
  box.textContent = words
  box.hidden = false
  const at = target.getBoundingClientRect()
  const own = box.getBoundingClientRect()
  const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 8)
  const above = at.top - own.height - 8
  box.style.left = `${left + scrollX}px`
  box.style.top = `${(above < 4 ? at.bottom + 8 : above) + scrollY}px`
}

export function hideTip() {
  if (box) {
    box.hidden = true
  }
}

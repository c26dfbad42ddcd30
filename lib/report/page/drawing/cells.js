/** Cells of a map: each says what it is, to the mouse and to keys. */

import { roving } from '../shared/dom.js'

/** `words` are one text a cell, row by row; arrow keys move through the grid, which is `columns` wide. */
export function readableCells(svg, rects, words, columns, current = 0) {
  svg.setAttribute('role', 'group')
  rects.forEach((rect, i) => {
    rect.setAttribute('aria-label', words[i])
    const title = document.createElementNS('http://www.w3.org/2000/svg', 'title')
    title.textContent = words[i]
    rect.append(title)
  })
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }
  roving(rects, (key, i) => (key in moves ? i + moves[key] : undefined), current)
}

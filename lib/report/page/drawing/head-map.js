/**
 * A map of all heads, layers down and heads across, as small as it must be to show every one. Replicated heads fill their
 * cell, those that were discovered alone most of it, the others half: that is seen without colour too.
 */

import { roving } from '../shared/dom.js'
import { colour, inkOn } from '../shared/theme.js'
import { canvas, svg } from './svg.js'
import { hideTip, showTip } from './tip.js'

const TOP = 4
const BOTTOM = 34
const MOST = 46
/** Ranks are written in cells of at least this size. */
const WRITTEN = 20
/** Axis labels need this much. */
const LABEL = 18

/**
 * `cells` have `name`, `row`, `head`, `fill`, `text`, `words` and `discovered` (undefined where nothing was tested) and
 * `replicated`; `choose(cell)` is called by click, Enter or Space.
 */
export function headMap(width, { cells, selectedHead, choose }) {
  const heads = Math.max(...cells.map((c) => c.head)) + 1
  const rows = [...new Set(cells.map((c) => c.row))]
  const left = 14 + 7 * Math.max(...rows.map((row) => row.length))
  const size = Math.max(2, Math.min(MOST, (width - left - 4) / heads))
  const high = Math.max(size * 0.72, Math.min(size, 8))
  const at = new Map(rows.map((row, i) => [row, i]))
  const x = (c) => left + c.head * size
  const y = (c) => TOP + at.get(c.row) * high
  const gap = size > 12 ? 1 : size > 6 ? 0.5 : 0.2
  const rects = cells.map((cell) => {
    const part = partOf(cell)
    const [w, h] = [part * size - 2 * gap, part * high - 2 * gap]
    return svg('rect', {
      x: x(cell) + (size - w) / 2,
      y: y(cell) + (high - h) / 2,
      width: Math.max(w, 0.8),
      height: Math.max(h, 0.8),
      rx: size > 16 ? 2 : 0,
      fill: cell.fill,
      role: 'button',
      'data-head': cell.name,
      'aria-label': cell.words,
      'aria-pressed': `${cell.name === selectedHead}`,
    })
  })
  const texts =
    high >= WRITTEN * 0.72 && size >= WRITTEN
      ? cells
          .filter(({ discovered }) => discovered !== false)
          .map((cell) =>
            svg(
              'text',
              {
                x: x(cell) + size / 2,
                y: y(cell) + high / 2 + 4,
                'text-anchor': 'middle',
                fill: inkOn(cell.fill),
                'pointer-events': 'none',
                'aria-hidden': 'true',
                'font-weight': cell.replicated ? 700 : undefined,
              },
              cell.text,
            ),
          )
      : []
  const bottom = TOP + rows.length * high
  const every = Math.ceil(LABEL / size)
  const down = Math.ceil(13 / high)
  const frame = svg('rect', {
    class: 'chosen',
    fill: 'none',
    stroke: colour('ink'),
    'stroke-width': 2.5,
    'pointer-events': 'none',
  })
  const root = canvas(
    left + heads * size + 4,
    bottom + BOTTOM,
    svg(
      'g',
      { 'aria-hidden': 'true', fill: colour('muted'), 'font-size': 11 },
      rows
        .filter((_, i) => i % down === 0)
        .map((row) =>
          svg('text', { x: left - 6, y: TOP + (at.get(row) + 0.5) * high + 4, 'text-anchor': 'end' }, row),
        ),
      Array.from({ length: heads }, (_, i) => i)
        .filter((i) => i % every === 0)
        .map((i) =>
          svg('text', { x: left + (i + 0.5) * size, y: bottom + 14, 'text-anchor': 'middle' }, `${i}`),
        ),
      svg('text', { x: left + (heads * size) / 2, y: bottom + 29, 'text-anchor': 'middle' }, 'head'),
    ),
    svg('g', { class: 'cells' }, rects),
    texts,
    frame,
  )
  root.setAttribute('role', 'group')
  markHead(root, selectedHead)
  listen(root, rects, cells, choose)
  const columns = byPlace(cells, at, heads)
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
  roving(
    rects,
    (key, i) => (key in moves ? columns.from(i, moves[key]) : undefined),
    cells.findIndex((c) => c.name === selectedHead),
  )
  return root
}

/** Part of the cell's width and height that a head fills. */
function partOf({ discovered, replicated }) {
  if (discovered === undefined || replicated) {
    return 1
  }
  return discovered ? 0.76 : 0.5
}

/** Frames the cell of a head; false where the map has none. */
export function markHead(root, head) {
  const frame = root.querySelector('.chosen')
  if (!frame) {
    return
  }
  let found
  for (const rect of root.querySelectorAll('rect[data-head]')) {
    const chosen = rect.dataset.head === head
    if (chosen) {
      found = rect
    }
    if (rect.getAttribute('aria-pressed') !== `${chosen}`) {
      rect.setAttribute('aria-pressed', `${chosen}`)
    }
  }
  frame.setAttribute('visibility', found ? 'visible' : 'hidden')
  if (!found) {
    return
  }
  for (const [name, grown] of [
    ['x', -2],
    ['y', -2],
    ['width', 4],
    ['height', 4],
  ]) {
    frame.setAttribute(name, Number(found.getAttribute(name)) + grown)
  }
}

/** One listener of a kind for all cells. */
function listen(root, rects, cells, choose) {
  const cellOf = (target) => cells[rects.indexOf(target.closest?.('rect[data-head]'))]
  root.addEventListener('click', ({ target }) => {
    const cell = cellOf(target)
    if (cell) {
      choose(cell)
    }
  })
  root.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') {
      return
    }
    const cell = cellOf(event.target)
    if (!cell) {
      return
    }
    event.preventDefault()
    choose(cell)
  })
  for (const kind of ['pointerover', 'focusin']) {
    root.addEventListener(kind, ({ target }) => {
      const cell = cellOf(target)
      if (cell) {
        showTip(target, cell.words)
      } else {
        hideTip()
      }
    })
  }
  for (const kind of ['pointerleave', 'focusout']) {
    root.addEventListener(kind, hideTip)
  }
}

/** Cells by their place, for arrow keys: layers may have different numbers of heads. */
function byPlace(cells, at, heads) {
  const grid = new Map(cells.map((cell, i) => [at.get(cell.row) * heads + cell.head, i]))
  return {
    from: (i, [down, across]) => {
      const { row, head } = cells[i]
      const next = head + across
      return next < 0 || next >= heads ? undefined : grid.get((at.get(row) + down) * heads + next)
    },
  }
}

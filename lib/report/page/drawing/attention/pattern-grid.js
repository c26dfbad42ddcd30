/** A whole attention pattern, queries down and keys across: one picture under one frame, so that long prompts stay quick. */

import { percent } from '../../shared/dom.js'
import { colour, sequential } from '../../shared/theme.js'
import { canvas, svg } from '../svg.js'
import { readable } from '../tokens.js'

const LEFT = 84
const TOP = 8
const BOTTOM = 76
const MOST_CELL = 13
/** Labels of tokens need this much, in pixels. */
const LABEL = 9

/**
 * `pattern` is [query][key]; `query` the row that is looked at. `choose(query)` is told of a row that the reader picks;
 * `tell(query, key)` of every cell that is pointed at or reached by arrow keys.
 */
export function patternGrid(width, { words, pattern, query, choose, tell }) {
  const n = words.length
  const cell = Math.max(1.5, Math.min(MOST_CELL, (width - LEFT - 8) / n))
  const side = cell * n
  const every = Math.ceil(LABEL / cell)
  const name = (i) => readable(words[i]).trim().slice(0, 10) || '␣'
  const labels = words.flatMap((_, i) =>
    i % every === 0 || i === query
      ? [
          svg(
            'text',
            {
              x: LEFT - 6,
              y: TOP + (i + 0.5) * cell + 4,
              'text-anchor': 'end',
              'font-size': 11,
              'font-weight': i === query ? 700 : undefined,
              fill: colour(i === query ? 'ink' : 'muted'),
            },
            name(i),
          ),
          i % every === 0
            ? svg(
                'text',
                {
                  transform: `translate(${LEFT + (i + 0.5) * cell + 3},${TOP + side + 10})rotate(-60)`,
                  'text-anchor': 'end',
                  'font-size': 11,
                  fill: colour('muted'),
                },
                name(i),
              )
            : null,
        ]
      : [],
  )
  const row = svg('rect', {
    x: LEFT - 1,
    y: TOP + query * cell - 0.5,
    width: side + 2,
    height: cell + 1,
    fill: 'none',
    stroke: colour('ink'),
    'stroke-width': 1.5,
  })
  const mark = svg('rect', {
    width: cell,
    height: cell,
    fill: 'none',
    stroke: colour('focus'),
    'stroke-width': 2,
    visibility: 'hidden',
  })
  const field = svg('rect', {
    x: LEFT,
    y: TOP,
    width: side,
    height: side,
    fill: colour('ink'),
    'fill-opacity': 0,
    tabindex: 0,
    role: 'button',
    class: 'field',
  })
  let at = { query, key: 0 }
  const words2 = ({ query: q, key }) =>
    `From “${name(q)}” (${q}) to “${name(key)}” (${key}): attention ${percent(pattern[q][key] ?? 0)}`
  const move = (next) => {
    at = { query: clamp(next.query, n), key: clamp(next.key, n) }
    mark.setAttribute('x', LEFT + at.key * cell)
    mark.setAttribute('y', TOP + at.query * cell)
    mark.setAttribute('visibility', 'visible')
    field.setAttribute('aria-label', `${words2(at)}. Arrow keys move, Enter shows the row.`)
    tell(`${words2(at)}.`)
  }
  field.setAttribute(
    'aria-label',
    `Pattern of ${n} by ${n} tokens. Arrow keys move through it, Enter shows a row.`,
  )
  field.addEventListener('pointermove', ({ clientX, clientY }) => {
    const box = field.getBoundingClientRect()
    move({
      query: Math.floor(((clientY - box.top) / box.height) * n),
      key: Math.floor(((clientX - box.left) / box.width) * n),
    })
  })
  field.addEventListener('click', () => choose(at.query))
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
  field.addEventListener('keydown', (event) => {
    if (event.key in steps) {
      const [down, across] = steps[event.key]
      move({ query: at.query + down, key: at.key + across })
    } else if (event.key === 'Enter' || event.key === ' ') {
      choose(at.query)
    } else {
      return
    }
    event.preventDefault()
  })
  const root = canvas(
    LEFT + side + 8,
    TOP + side + BOTTOM,
    svg('image', {
      x: LEFT,
      y: TOP,
      width: side,
      height: side,
      href: picture(pattern, n),
      preserveAspectRatio: 'none',
      style: 'image-rendering:pixelated',
    }),
    svg('rect', { x: LEFT, y: TOP, width: side, height: side, fill: 'none', stroke: colour('line') }),
    svg('g', { 'aria-hidden': 'true' }, labels),
    row,
    mark,
    field,
  )
  root.setAttribute('role', 'group')
  return root
}

const clamp = (i, n) => Math.min(Math.max(i, 0), n - 1)

/** One pixel a cell, as a data address. */
function picture(pattern, n) {
  const canvasNode = document.createElement('canvas')
  canvasNode.width = n
  canvasNode.height = n
  const context = canvasNode.getContext('2d')
  const fill = sequential(1)
  // A root, so that what little a key gets is seen beside what gets nearly all.
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < n; k++) {
      context.fillStyle = fill(Math.sqrt(pattern[q]?.[k] ?? 0))
      context.fillRect(k, q, 1, 1)
    }
  }
  return canvasNode.toDataURL()
}

/** Points in space, seen from a side that the reader turns: by dragging, or by arrow keys; Home turns back. */

import * as Plot from '@observablehq/plot'
import { number, percent } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { figure, frame } from '../figure.js'
import { looks, pointLegend, SYMBOLS } from './looks.js'

const NAMES = ['PC1', 'PC2', 'PC3']
const MARGIN = 10
/** Of an axis’s name, in pixels: half a letter’s width, and the room above the end of the axis. */
const HALF_LETTER = 3.8
const NAME_HEIGHT = 10
const STEP = Math.PI / 18
const RADIANS_A_PIXEL = 0.01

const TURNING = 'Drag it, or use arrow keys, to turn it; Home turns it back.'

/**
 * `cloud()` gives `points`, each with its coordinates `at` [up to three], a `label` or null and a `role`, and
 * where known the `shares` of variance of the axes; or a sentence where there are none. `more()` are columns that all
 * rows of the data have.
 */
export function scatter({ id, title, caption, cloud, more = () => ({}) }) {
  let view
  const points = () => cloud().points ?? []
  const own = figure({
    id,
    title,
    caption: () => (points().length > 0 ? `${caption()} ${TURNING}` : caption()),
    key: () => pointLegend(points()),
    fileKey: () => pointLegend(points()),
    draw: (width) => {
      if (points().length === 0) {
        return cloud()
      }
      view ??= firstView(points())
      return draw(width, cloud(), view)
    },
    rows: () =>
      points().map(({ at, label, role }) => ({
        ...more(),
        label: label ?? '',
        ...(role && { role }),
        ...Object.fromEntries(at.map((value, i) => [NAMES[i].toLowerCase(), value])),
      })),
    after: (plot) => {
      const drawn = points().length > 0
      plot.classList.toggle('turns', drawn)
      if (!drawn) {
        return plot.removeAttribute('tabindex')
      }
      plot.tabIndex = 0
      plot.setAttribute('role', 'group')
      plot.setAttribute('aria-roledescription', 'plot that turns')
      plot.setAttribute('aria-label', `${title()}. ${TURNING}`)
      // The nine numbers that points are multiplied by, row by row: right, up, towards the reader.
      plot.dataset.view = view
        .flat()
        .map((x) => x.toFixed(6))
        .join(' ')
    },
  })
  const turn = (change) => {
    view = change(view)
    own.redrawPlot()
  }
  turnable(own.node.querySelector('.plot'), {
    by: (right, up) => turn((before) => turned(before, right, up)),
    back: () => turn(() => firstView(points())),
  })
  return own
}

/** Mouse, finger and keys. Drawings are replaced while they turn, so that listeners are on what holds them. */
function turnable(plot, { by, back }) {
  let from
  const start = (event) => {
    if (event.button !== 0 || !plot.classList.contains('turns')) {
      return
    }
    from = { x: event.clientX, y: event.clientY }
    plot.setPointerCapture(event.pointerId)
  }
  // On its way down: where there is a tip, the drawing keeps what comes up.
  plot.addEventListener('pointerdown', start, { capture: true })
  plot.addEventListener('pointermove', ({ clientX, clientY }) => {
    if (!from) {
      return
    }
    by((clientX - from.x) * RADIANS_A_PIXEL, (from.y - clientY) * RADIANS_A_PIXEL)
    from = { x: clientX, y: clientY }
  })
  for (const end of ['pointerup', 'pointercancel']) {
    plot.addEventListener(end, () => {
      from = undefined
    })
  }
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }
  plot.addEventListener('keydown', (event) => {
    if (event.target !== plot || !plot.classList.contains('turns')) {
      return
    }
    if (event.key in steps) {
      by(...steps[event.key].map((n) => n * STEP))
    } else if (event.key === 'Home') {
      back()
    } else {
      return
    }
    event.preventDefault()
  })
}

/** Aslant, so that three axes are seen; straight on where there are two or one. */
const firstView = (points) => {
  const flat = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ]
  return points[0].at.length < 3 ? flat : turned(flat, -0.6, -0.4)
}

/** Turned about the page's upright axis, then about its level one, in radians. */
function turned([right, up, near], sideways, upwards) {
  const mix = (a, b, x, y) => a.map((value, i) => x * value + y * b[i])
  const [c, s] = [Math.cos(sideways), Math.sin(sideways)]
  const [right2, near2] = [mix(right, near, c, s), mix(near, right, c, -s)]
  const [d, t] = [Math.cos(upwards), Math.sin(upwards)]
  return orthonormal([right2, mix(up, near2, d, t), mix(near2, up, d, -t)])
}

/** Takes off the round-off of many turns. */
function orthonormal(rows) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)
  const done = []
  for (const row of rows) {
    const rest = done.reduce((left, other) => left.map((v, i) => v - dot(row, other) * other[i]), row)
    const length = Math.sqrt(dot(rest, rest))
    done.push(rest.map((v) => v / length))
  }
  return done
}

const within = (value, limit) => Math.min(Math.max(value, -limit), limit)

const along = (axis, at) => at.reduce((sum, value, i) => sum + value * axis[i], 0)

function draw(width, { points, shares }, [right, up, near]) {
  const height = Math.min(width, 380)
  const { labelled, of } = looks(points)
  // The same whatever the side, so that nothing grows or shrinks while it turns.
  const reach = 1.04 * Math.max(1e-9, ...points.map(({ at }) => Math.hypot(...at)))
  const across = (reach * width) / height
  const pixel = (2 * reach) / (height - 2 * MARGIN)
  const axes = points[0].at.map((_, i) => {
    const length = 1.05 * Math.max(...points.map(({ at }) => Math.abs(at[i])))
    const at = (end) => [right[i] * length * end, up[i] * length * end]
    const [[x1, y1], [x2, y2]] = [at(-1), at(1)]
    const share = shares?.[i] === undefined ? '' : ` ${percent(shares[i], 0)}`
    const name = `${NAMES[i]}${share}`
    // The name keeps inside the frame, also where the end of its axis is near the edge.
    const nameX = within(x2, across - name.length * HALF_LETTER * pixel)
    const nameY = within(y2, reach - NAME_HEIGHT * pixel)
    return { x1, y1, x2, y2, name, nameX, nameY, seen: Math.hypot(right[i], up[i]) }
  })
  const seen = points
    .map((p) => ({
      ...p,
      ...of(p),
      x: along(right, p.at),
      y: along(up, p.at),
      depth: along(near, p.at) / reach,
    }))
    .sort((a, b) => a.depth - b.depth)
  // What is nearer is larger and stronger.
  const solid = (p) => !labelled || p.role !== 'negative'
  const common = {
    x: 'x',
    y: 'y',
    symbol: 'symbol',
    r: (p) => 3.4 + 1.2 * p.depth,
  }
  const strength = (p) => 0.8 + 0.2 * p.depth
  const paint = { value: 'fill', scale: null }
  return frame({
    width,
    height,
    margin: MARGIN,
    axis: null,
    x: { domain: [-across, across] },
    y: { domain: [-reach, reach] },
    r: { type: 'identity' },
    symbol: { domain: SYMBOLS, range: SYMBOLS },
    marks: [
      Plot.link(axes, {
        x1: 'x1',
        y1: 'y1',
        x2: 'x2',
        y2: 'y2',
        stroke: colour('muted'),
        strokeOpacity: 0.6,
        className: 'axes',
      }),
      Plot.dot(seen.filter(solid), {
        ...common,
        fill: paint,
        fillOpacity: strength,
        stroke: colour('surface'),
        strokeWidth: 0.6,
        className: 'points',
      }),
      Plot.dot(
        seen.filter((p) => !solid(p)),
        {
          ...common,
          fill: 'none',
          stroke: paint,
          strokeOpacity: strength,
          strokeWidth: 1.6,
          className: 'points',
        },
      ),
      Plot.text(
        axes.filter((a) => a.seen > 0.25),
        {
          x: 'nameX',
          y: 'nameY',
          text: 'name',
          fill: colour('ink'),
          stroke: colour('surface'),
          strokeWidth: 4,
          dy: -8,
          pointerEvents: 'none',
        },
      ),
      Plot.tip(
        seen,
        Plot.pointer({ x: 'x', y: 'y', title: tipText, fill: colour('surface'), maxRadius: 20 }),
      ),
    ],
  })
}

function tipText({ label, role, at }) {
  const what = [label, role].filter((text) => text !== null && text !== undefined).join(', ')
  return `${what}\n${at.map((value, i) => `${NAMES[i]} ${number(value)}`).join('\n')}`
}

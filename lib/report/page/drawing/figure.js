/** Figures: a drawing with a caption in words, its files (SVG, PNG, CSV) and its numbers as a table. */

import * as Plot from '@observablehq/plot'
import * as d3 from 'd3'
import { el, table } from '../shared/dom.js'
import { colour } from '../shared/theme.js'

const figures = new Set()
const figureOf = new WeakMap()

/** How far outside the window figures are drawn ahead. */
const AHEAD = '1200px'

/**
 * Draws what comes near the window, one figure a task: a page of a thousand heads would otherwise stand still while it
 * draws what nobody looks at yet.
 */
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const own = figureOf.get(target)
      own.near = isIntersecting
      if (isIntersecting && own.stale) {
        setTimeout(own.drawIfStale)
      }
    }
  },
  { rootMargin: AHEAD },
)

/**
 * `draw(width)` gives an SVG, or a sentence where there is nothing to draw; `rows()` the numbers behind it, one
 * object a row; `key()` what its colours mean, `fileKey()` the same in files, where nothing else tells; `after`
 * is called with every new drawing. `height` is about that of the drawing, in pixels, until it is drawn. `redraw`
 * follows what all of them say, as soon as the figure is near the window; `redrawPlot` the drawing alone, at once.
 */
export function figure({
  id,
  title,
  caption,
  draw,
  rows,
  key = () => [],
  fileKey = key,
  after,
  height = 280,
}) {
  const plot = el('div', { class: 'plot' })
  plot.style.minHeight = `${height}px`
  const legend = el('div', { class: 'legend' })
  const words = el('p', {})
  const heading = el('span', { class: 'title' })
  const numbers = el('details', { class: 'numbers' }, el('summary', {}, 'Numbers'))
  const download = (kind, action) =>
    el('button', { type: 'button', 'data-kind': kind, click: action }, kind.toUpperCase())
  const buttons = [
    download('svg', () => save(`${id()}.svg`, new Blob([svgText()], { type: 'image/svg+xml' }))),
    download('png', () => savePng(`${id()}.png`, svgText())),
    download('csv', () => save(`${id()}.csv`, new Blob([csv(rows())], { type: 'text/csv' }))),
  ]
  const node = el(
    'figure',
    {},
    el('figcaption', {}, heading, words),
    legend,
    plot,
    el('div', { class: 'files' }, numbers, el('div', { class: 'buttons' }, buttons)),
  )
  const svgText = () => standalone(plot.querySelector('svg'), title(), fileKey())
  const fillNumbers = () => {
    numbers.querySelector('.scroll')?.remove()
    const all = numbers.open ? rows() : []
    if (all.length > 0) {
      numbers.append(table(all, `Numbers of ${title()}`))
    }
  }
  numbers.addEventListener('toggle', fillNumbers)
  const redrawPlot = () => {
    const picture = draw(Math.max(plot.clientWidth, 200))
    const isDrawing = picture instanceof SVGElement
    if (isDrawing) {
      picture.setAttribute('role', picture.getAttribute('role') ?? 'img')
      picture.setAttribute('aria-label', `${title()}. ${caption()}`)
    }
    plot.replaceChildren(isDrawing ? picture : el('p', { class: 'absent' }, picture))
    plot.style.minHeight = ''
    plot.classList.toggle('scrolls', plot.scrollWidth > plot.clientWidth + 1)
    after?.(plot)
  }
  const drawAll = () => {
    own.stale = false
    legend.replaceChildren(...key().map(keyEntry))
    redrawPlot()
    for (const button of buttons) {
      const { kind } = button.dataset
      button.setAttribute('aria-label', `Download “${title()}” as ${kind.toUpperCase()}`)
      button.hidden = !plot.querySelector('svg') && kind !== 'csv'
    }
    fillNumbers()
  }
  const own = {
    node,
    near: false,
    stale: true,
    drawIfStale: () => {
      if (own.stale && node.isConnected) {
        drawAll()
      }
    },
  }
  const redraw = () => {
    own.stale = true
    node.id = `figure-${id()}`
    heading.textContent = title()
    words.textContent = caption()
    if (own.near) {
      own.drawIfStale()
    }
  }
  own.redraw = redraw
  figures.add(own)
  figureOf.set(node, own)
  nearby.observe(node)
  // What is not on the page yet is drawn by whoever puts it there.
  queueMicrotask(() => node.isConnected && redraw())
  return { node, redraw, redrawPlot }
}

/** One entry of a legend. */
export function keyEntry({ text, fill, shape, hollow }) {
  const sign = el('i', { class: shape })
  sign.style[hollow ? 'borderColor' : 'background'] = fill
  if (hollow) {
    sign.classList.add('hollow')
  }
  return el('span', {}, sign, text)
}

/** Draws every figure of the page anew: the width or the colours have changed. */
export function redrawAll() {
  for (const own of figures) {
    if (own.node.isConnected) {
      own.redraw()
    } else {
      figures.delete(own)
    }
  }
}

/** Draws also what is far from the window: paper has no window. */
export function drawEverything() {
  for (const { drawIfStale } of figures) {
    drawIfStale()
  }
}

const SVG = 'http://www.w3.org/2000/svg'
const HEAD = 30
const KEY_LINE = 18
/** Room for titles and keys. */
const LEAST_WIDTH = 320

/** The drawing as a document of its own: with its size, background, title and key. */
function standalone(svg, title, key) {
  const copy = svg.cloneNode(true)
  const [drawn, height] = ['width', 'height'].map((name) => Number(svg.getAttribute(name)))
  const width = Math.max(drawn, LEAST_WIDTH)
  const top = HEAD + key.length * KEY_LINE
  const add = (tag, attributes, text = '') => {
    const node = document.createElementNS(SVG, tag)
    for (const [name, value] of Object.entries(attributes)) {
      node.setAttribute(name, value)
    }
    node.textContent = text
    copy.prepend(node)
  }
  const words = { fill: colour('ink'), 'text-anchor': 'start' }
  key.forEach(({ text, fill }, i) => {
    const y = -top + HEAD + i * KEY_LINE
    add('text', { ...words, x: 28, y: y + 9, 'font-size': 12 }, text)
    add('rect', { x: 10, y, width: 12, height: 10, fill })
  })
  add('text', { ...words, x: 10, y: -top + 18, 'font-size': 14, 'font-weight': 600 }, title)
  add('rect', { x: 0, y: -top, width, height: height + top, fill: colour('surface') })
  for (const [name, value] of Object.entries({
    xmlns: SVG,
    width,
    height: height + top,
    viewBox: `0 ${-top} ${width} ${height + top}`,
    fill: 'currentColor',
    color: colour('ink'),
    'font-family': 'system-ui, sans-serif',
    'font-size': 12,
  })) {
    copy.setAttribute(name, value)
  }
  for (const node of copy.querySelectorAll('[tabindex]')) {
    node.removeAttribute('tabindex')
  }
  return wellFormed(new XMLSerializer().serializeToString(copy))
}

/** XML has no place for most control characters and for halves of pairs, whatever a label or a token holds. */
const wellFormed = (text) => Array.from(text, (c) => (isXml(c.codePointAt(0)) ? c : '\ufffd')).join('')

const isXml = (code) =>
  code >= 0x20
    ? !(code >= 0xd800 && code <= 0xdfff) && code !== 0xfffe && code !== 0xffff
    : code === 0x9 || code === 0xa || code === 0xd

function csv(rows) {
  return `${d3.csvFormat(rows)}\n`
}

function save(name, blob) {
  const href = URL.createObjectURL(blob)
  const link = el('a', { href, download: name, hidden: true })
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(href), 10_000)
}

/** At twice the size, for dense screens and slides. */
async function savePng(name, text) {
  const image = new Image()
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`
  await image.decode()
  const canvas = el('canvas', { width: image.width * 2, height: image.height * 2 })
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height)
  canvas.toBlob((blob) => save(name, blob), 'image/png')
}

/** What every plot has in common. */
export function frame(options) {
  const plot = Plot.plot({
    ...options,
    style: { fontSize: '12px', background: 'transparent', ...options.style },
  })
  // Plot names its groups of marks; a name needs a role.
  for (const marks of plot.querySelectorAll('g[aria-label]')) {
    marks.setAttribute('role', 'group')
  }
  return plot
}

/**
 * One row of attention, token by token: arcs from the query, bars of attention before and after an edit, and the scores
 * beneath them on an axis of their own.
 */

import * as d3 from 'd3'
import { number, percent } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { canvas, svg } from '../svg.js'
import { readable } from '../tokens.js'

const LEFT = 46
const RIGHT = 14
const ARCS = 84
const BARS = 110
const SCORES = 84
const LABELS = 78
const GAP = 30
/** Width of a token, in pixels. */
const LEAST = 16
const MOST = 34
/** Arcs of less attention are not drawn. */
const FAINT = 0.01

/**
 * `attention`, and where they are known `after` (with the edit), `nullAfter` and `scores` (null where masked), one number
 * a token; `marks` as in `tokens.js`.
 */
export function attentionProfile(width, { words, query, attention, after, nullAfter, scores, marks }) {
  const step = Math.max(LEAST, Math.min(MOST, (width - LEFT - RIGHT) / words.length))
  const x = (i) => LEFT + (i + 0.5) * step
  const right = LEFT + step * words.length
  const most = Math.max(0.1, ...attention, ...(after ?? []), ...(nullAfter ?? []))
  const tops = { bars: ARCS + GAP, scores: ARCS + BARS + 2 * GAP }
  const bottom = tops.bars + BARS + (scores ? GAP + SCORES : 0)
  const y = d3.scaleLinear([0, most], [tops.bars + BARS, tops.bars]).nice(3)
  return canvas(
    Math.max(right + RIGHT, 200),
    bottom + LABELS,
    svg('g', { class: 'arcs', 'aria-hidden': 'true' }, arcs({ attention, query, x })),
    axis(y, '.0%', 'attention', right),
    attention.map((value, i) =>
      bar(
        x(i),
        step * 0.62,
        y(value),
        y(0),
        marks[i] === 'positive'
          ? colour('feature-0')
          : marks[i] === 'negative'
            ? colour('feature-1')
            : colour('rest'),
        'before',
      ),
    ),
    after?.map((value, i) => dot(x(i), y(value), 'after')),
    nullAfter?.map((value, i) =>
      Math.abs(value - attention[i]) > 0.003 || value > 0.02 ? diamond(x(i), y(value)) : null,
    ),
    scores && scoreDots({ scores, x, top: tops.scores, right, marks }),
    words.map((word, i) => label(readable(word), x(i), bottom + 12, marks[i])),
    svg(
      'g',
      { class: 'hits' },
      words.map((_, i) =>
        svg('rect', {
          x: x(i) - step / 2,
          y: 0,
          width: step,
          height: bottom,
          fill: colour('ink'),
          'fill-opacity': 0,
          'data-token': i,
        }),
      ),
    ),
  )
}

const bar = (x, width, top, zero, fill, kind) =>
  svg('rect', { x: x - width / 2, y: top, width, height: Math.max(0, zero - top), fill, class: kind })

const dot = (cx, cy, kind) =>
  svg('circle', { cx, cy, r: 3.6, fill: colour('accent'), stroke: colour('surface'), class: kind })

const diamond = (x, y) =>
  svg('path', {
    d: `M${x},${y - 4.5}l4.5,4.5l-4.5,4.5l-4.5,-4.5z`,
    fill: colour('surface'),
    stroke: colour('ink'),
    class: 'null-after',
  })

/** From the query to every key: the wider, the more attention. */
function arcs({ attention, query, x }) {
  const top = ARCS + GAP - 8
  return attention.flatMap((value, i) => {
    if (value < FAINT || i === query) {
      return []
    }
    const [from, to] = [x(query), x(i)]
    const lift = Math.min(ARCS, 14 + Math.abs(from - to) * 0.22)
    return svg('path', {
      d: `M${from},${top}C${from},${top - lift * 1.3} ${to},${top - lift * 1.3} ${to},${top}`,
      fill: 'none',
      stroke: colour('accent'),
      'stroke-width': 0.75 + 5 * value,
      'stroke-opacity': 0.25 + 0.75 * value,
      'data-key': i,
    })
  })
}

function axis(scale, format, name, right) {
  const ticks = scale.ticks(3)
  const print = d3.format(format)
  const [low, high] = scale.range()
  return svg(
    'g',
    { 'aria-hidden': 'true' },
    ticks.map((value) => [
      svg('line', { x1: LEFT, x2: right, y1: scale(value), y2: scale(value), stroke: colour('line') }),
      svg(
        'text',
        { x: LEFT - 6, y: scale(value) + 4, 'text-anchor': 'end', fill: colour('muted') },
        print(value).replace('-', '−'),
      ),
    ]),
    svg('text', { x: 4, y: Math.min(low, high) - 8, fill: colour('muted') }, name),
  )
}

function scoreDots({ scores, x, top, right, marks }) {
  const known = scores.filter((score) => score !== null)
  const y = d3.scaleLinear(d3.extent(known), [top + SCORES, top]).nice(3)
  const fill = (i) =>
    marks[i] === 'positive'
      ? colour('feature-0')
      : marks[i] === 'negative'
        ? colour('feature-1')
        : colour('muted')
  return svg(
    'g',
    { class: 'scores' },
    axis(y, 'd', 'score', right),
    scores.map((score, i) =>
      score === null ? null : svg('circle', { cx: x(i), cy: y(score), r: 3.2, fill: fill(i) }),
    ),
  )
}

function label(word, x, y, mark) {
  const text = word.trim() === '' ? '␣' : word.trim()
  const shown = text.length > 11 ? `${text.slice(0, 10)}…` : text
  return svg(
    'text',
    {
      transform: `translate(${x + 4},${y})rotate(-60)`,
      'text-anchor': 'end',
      fill: colour(mark ? 'ink' : 'muted'),
      'font-weight': mark ? 700 : undefined,
      'text-decoration': mark === 'query' ? 'underline' : undefined,
      'aria-hidden': 'true',
    },
    `${shown}${mark === 'positive' ? ' +' : mark === 'negative' ? ' −' : ''}`,
  )
}

/** The numbers of one token in words. */
export function tokenNumbers({ words, attention, after, nullAfter, scores, part }, i) {
  const parts = [
    `attention ${percent(attention[i])}`,
    after && `after the edit ${percent(after[i])}`,
    nullAfter && `after it in null subspaces ${percent(nullAfter[i])}`,
    scores && (scores[i] === null ? 'masked' : `score ${number(scores[i], 2)}`),
    part && part[i] !== null && `of it the feature’s part ${number(part[i], 2)}`,
  ].filter(Boolean)
  return `Token ${i}, “${readable(words[i])}”: ${parts.join(', ')}.`
}

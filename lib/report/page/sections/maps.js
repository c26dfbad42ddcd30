/** Layer by head maps, one a contrast, that show every head at any width; a cell selects its head. */

import { leastP, rankedFindings, standingOf } from '../../finding/evidence.ts'
import { headDimOf } from '../../finding/finding.ts'
import { figure } from '../drawing/figure.js'
import { headMap, markHead } from '../drawing/head-map.js'
import { el, menu, number, percent, plural, pValue } from '../shared/dom.js'
import { onSelect, place, report, select, selection } from '../shared/selection.js'
import { diverging, sequential } from '../shared/theme.js'

const MEASURES = {
  attention: {
    text: 'attention on the positive keys',
    of: ({ attention }) => attention?.positive ?? 0,
    print: (value) => percent(value, 0),
    there: ({ attention }) => attention !== undefined,
  },
  evidence: {
    text: 'evidence, −log₁₀ p',
    of: (found) => (found.test ? -Math.log10(leastP(found)) : 0),
    print: (value) => number(value, 1),
    there: ({ test }) => test !== undefined,
  },
  rank: { text: 'rank', of: ({ rank }) => rank, print: (value) => `${value}` },
  scoreGap: {
    text: 'score gap',
    of: ({ scoreGap }) => scoreGap,
    print: (value) => number(value, 2),
    signed: true,
  },
}

/** Those that a result has, of its first head. */
function measures() {
  const [[first]] = Object.values(selection.result.heads).map((all) => Object.values(all))
  return Object.keys(MEASURES).filter((name) => MEASURES[name].there?.(first) ?? true)
}

/** Contrasts whose maps are seen at once; the others are a step away. */
const FIRST = 4

export function maps() {
  let measure = measures()[0]
  let figures = []
  const grid = el('div', { class: 'maps' })
  const others = el('div', { class: 'maps' })
  const more = el('details', { class: 'more' }, el('summary', {}), others)
  more.addEventListener('toggle', () => {
    for (const { redraw } of figures.slice(FIRST)) {
      redraw()
    }
  })
  const fill = () => {
    const contrasts = selection.result.prompts.contrasts
    figures = contrasts.map((contrast) => mapOf(contrast, () => measure))
    const nodes = figures.map(({ node }) => node)
    grid.replaceChildren(...nodes.slice(0, FIRST))
    others.replaceChildren(...nodes.slice(FIRST))
    for (const own of [grid, others]) {
      own.style.setProperty('--least', `${leastWidth(selection.result)}px`)
    }
    more.hidden = nodes.length <= FIRST
    more.querySelector('summary').textContent = plural(nodes.length - FIRST, 'more contrast')
  }
  onSelect(({ result }) => {
    if (result) {
      fill()
    } else {
      for (const { node } of figures) {
        for (const svg of node.querySelectorAll('.plot svg')) {
          markHead(svg, selection.head)
        }
      }
    }
  })
  fill()
  const options = measures().map((value) => ({ value, text: MEASURES[value].text }))
  return el('section', { id: 'heads', 'aria-labelledby': 'heads-title' }, [
    el('h2', { id: 'heads-title' }, 'All heads'),
    el(
      'p',
      {},
      'Every head that was analysed, one map a contrast. Full cells (bold ranks) passed the test and were replicated between halves of the prompts, smaller ones passed it, the smallest did not. Choose a cell, with the mouse or with arrow keys and Enter, to see its head in every part of this page.',
    ),
    el(
      'div',
      { class: 'choices' },
      menu('Colour', options, measure, (value) => {
        measure = value
        for (const { redraw } of figures) {
          redraw()
        }
      }),
    ),
    grid,
    more,
  ])
}

/** A map's least width: cells stay legible side by side where few heads allow it. */
const leastWidth = ({ heads }) => {
  const most = Math.max(...Object.keys(heads).map((name) => place(name).head)) + 1
  return Math.min(520, Math.max(220, 60 + 11 * most))
}

/** From the least to the largest value of a contrast, and what of it a test calls significant. */
function scaleOf(contrast, measure) {
  const { of, signed } = MEASURES[measure]
  const values = Object.values(selection.result.heads).flatMap((all) =>
    all[contrast] ? [of(all[contrast])] : [],
  )
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0)
  return { most, low: signed ? -most : 0, fill: signed ? diverging(most) : sequential(most) }
}

/** The largest p that was discovered under this contrast; undefined where none was. */
function threshold(contrast) {
  const found = Object.values(selection.result.heads)
    .map((all) => all[contrast])
    .filter((own) => own?.test?.discovered)
  return found.length > 0 ? Math.max(...found.map(leastP)) : undefined
}

function mapOf(contrast, measure) {
  const { result } = selection
  const cells = () => {
    const { of } = MEASURES[measure()]
    const { fill } = scaleOf(contrast, measure())
    return Object.entries(result.heads).flatMap(([name, all]) => {
      const found = all[contrast]
      if (!found) {
        return []
      }
      return [
        {
          name,
          ...place(name),
          fill: fill(of(found)),
          text: `${found.rank}`,
          words: wordsOf(name, contrast, found),
          discovered: found.test?.discovered,
          replicated: standingOf(found) === 'replicated',
        },
      ]
    })
  }
  const ramp = el('div', { class: 'ramp', 'aria-hidden': 'true' })
  const made = figure({
    id: () => `map-${contrast.replace(/\W+/g, '-')}`,
    title: () => contrast,
    caption: () => captionOf(result, contrast, measure()),
    fileKey: () => {
      const { low, most, fill } = scaleOf(contrast, measure())
      const { text, print } = MEASURES[measure()]
      return [low, (low + most) / 2, most].map((value) => ({
        text: `${text} ${print(value)}`,
        fill: fill(value),
      }))
    },
    draw: (width) => {
      showRamp(ramp, contrast, measure())
      return headMap(width, {
        cells: cells(),
        selectedHead: selection.head,
        choose: ({ name }) => select({ result, contrast, head: name }),
      })
    },
    rows: () =>
      Object.entries(result.heads).flatMap(([head, all]) => {
        const { scoreGap, totalEnergy, rank, terms, skipped, attention, test } = all[contrast] ?? {}
        if (rank === undefined) {
          return []
        }
        return [
          {
            head,
            contrast,
            scoreGap,
            norm: Math.sqrt(totalEnergy),
            rank,
            headDim: headDimOf(result, head),
            terms,
            skipped,
            ...(attention && { attention: attention.positive, attentionOnNegatives: attention.negative }),
            ...(test && {
              p: test.p[test.hypothesis],
              q: test.q,
              discovered: test.discovered,
              replicated: test.replication?.replicated ?? false,
            }),
          },
        ]
      }),
    height: 120,
  })
  made.node.querySelector('.plot').before(ramp)
  return made
}

function captionOf(result, contrast, measure) {
  const [best] = rankedFindings(result, report.interventions, [contrast])
  const all = Object.values(result.heads).flatMap((own) => own[contrast] ?? [])
  const tested = all.filter(({ test }) => test)
  const words = `Colour: ${MEASURES[measure].text}; numbers: ranks, of ${plural(headDimOf(result, best.head) ?? 0, 'dimension')}.`
  const attention = best.found.attention
    ? `, with ${percent(best.found.attention.positive, 0)} of its attention on the positive keys`
    : ''
  if (tested.length === 0) {
    return `${words} Nothing was tested; most attention: ${best.head}${attention}.`
  }
  const discovered = tested.filter(({ test }) => test.discovered).length
  const limit =
    measure === 'evidence' && discovered > 0
      ? ` The threshold is ${number(-Math.log10(threshold(contrast)), 1)} (p = ${pValue(threshold(contrast))}).`
      : ''
  return discovered === 0
    ? `${words} No head of ${tested.length} passes: random labels do as well.`
    : `${words} ${discovered} of ${plural(tested.length, 'head')} ${discovered === 1 ? 'passes' : 'pass'} the test; first among them ${best.head}${attention}.${limit}`
}

const wordsOf = (name, contrast, found) => {
  const of = headDimOf(selection.result, name)
  const { attention, test, rank, scoreGap } = found
  return [
    `${name}, ${contrast}: `,
    attention ? `attention ${percent(attention.positive)} on the positive keys, ` : '',
    test ? `${standingOf(found)}, p ${pValue(leastP(found))}, q ${pValue(test.q)}, ` : 'not tested, ',
    `rank ${rank}${of ? ` of ${of}` : ''}, score gap ${number(scoreGap, 2)}`,
  ].join('')
}

function showRamp(ramp, contrast, measure) {
  const { low, most, fill } = scaleOf(contrast, measure)
  const { print } = MEASURES[measure]
  const stops = Array.from({ length: 9 }, (_, i) => fill(low + ((most - low) * i) / 8))
  const band = el('i', {})
  band.style.background = `linear-gradient(to right, ${stops.join(', ')})`
  const limit = measure === 'evidence' ? threshold(contrast) : undefined
  if (limit !== undefined && most > 0) {
    const tick = el('span', { class: 'limit', title: 'threshold' })
    tick.style.left = `${Math.min(100, (100 * -Math.log10(limit)) / most)}%`
    band.append(tick)
  }
  ramp.replaceChildren(el('span', {}, print(low)), band, el('span', {}, print(most)))
}

/** Heads by the attention that they give to one token: each bar selects its head. */

import { percent, roving } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { canvas, svg } from '../svg.js'

const LEFT = 64
const ROW = 26
const TOP = 6

/** `rows` have `head`, `token` and `attention`; `tokenName` names a position; `choose` gets the head. */
export function topHeads(width, { rows, selectedHead, tokenName, choose }) {
  const words = (row) => `${percent(row.attention, 0)} on ${tokenName(row.token)}`
  const room = Math.max(60, width - LEFT - 190)
  const bars = rows.map((row, i) => {
    const chosen = row.head === selectedHead
    const bar = svg('rect', {
      x: LEFT,
      y: TOP + i * ROW + 3,
      width: Math.max(1, room * row.attention),
      height: ROW - 7,
      rx: 2,
      fill: colour(chosen ? 'accent' : 'rest'),
      role: 'button',
      'data-head': row.head,
      'aria-pressed': `${chosen}`,
      'aria-label': `${row.head}: ${words(row)}`,
    })
    const pick = () => choose(row.head)
    bar.addEventListener('click', pick)
    bar.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') {
        return
      }
      event.preventDefault()
      pick()
    })
    return bar
  })
  const texts = rows.flatMap((row, i) => {
    const y = TOP + (i + 0.5) * ROW + 4
    const weight = row.head === selectedHead ? 700 : undefined
    return [
      svg(
        'text',
        { x: LEFT - 8, y, 'text-anchor': 'end', 'font-weight': weight, 'aria-hidden': 'true' },
        row.head,
      ),
      svg(
        'text',
        { x: LEFT + Math.max(1, room * row.attention) + 8, y, 'font-weight': weight, 'aria-hidden': 'true' },
        words(row),
      ),
    ]
  })
  const root = canvas(width, TOP * 2 + rows.length * ROW, bars, texts)
  root.setAttribute('role', 'group')
  const moves = { ArrowUp: -1, ArrowDown: 1 }
  roving(
    bars,
    (key, i) => (key in moves ? i + moves[key] : undefined),
    rows.findIndex(({ head }) => head === selectedHead),
  )
  return root
}

/** A prompt's text, its tokens shaded by one feature's contribution; hovering or moving to one gives numbers. */

import { el, number, roving } from '../shared/dom.js'
import { diverging, inkOn } from '../shared/theme.js'

/** Tokenizers mark a space in several ways. */
export const readable = (word) => word.replace(/[Ġ▁]/g, ' ').replace(/Ċ/g, '⏎')

/** Words of word-level tokenizers carry no space of their own. */
export function spaced(words) {
  return words.some((word) => /^[Ġ▁ ]/.test(word) || word.startsWith('##'))
}

/** `values` per token of the chosen part; `describe(i)` the numbers in words; `show(i)` marks it elsewhere. */
export function tokenText({ words, values, query, describe, show, current }) {
  const fill = diverging(Math.max(...values.map(Math.abs)))
  const apart = !spaced(words)
  const live = el('p', { class: 'live', 'aria-live': 'polite' })
  const nodes = words.map((word, i) => {
    const background = i < values.length ? fill(values[i]) : 'transparent'
    const tell = () => {
      live.textContent = describe(i)
      for (const other of nodes) other.classList.toggle('current', other === nodes[i])
      show(i)
    }
    return el(
      'span',
      {
        class: `token${i === query ? ' query' : ''}`,
        role: 'button',
        'data-token': `${i}`,
        'aria-label': `${readable(word)}, ${i < values.length ? number(values[i]) : 'not attended'}`,
        style: i < values.length ? `background:${background};color:${inkOn(background)}` : '',
        focus: tell,
        mouseenter: tell,
      },
      readable(word),
    )
  })
  const last = words.length - 1
  const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }
  const ends = { Home: 0, End: last }
  roving(nodes, (key, i) => (key in ends ? ends[key] : key in moves ? i + moves[key] : undefined), current)
  live.textContent = 'Point at a token, or move through them with arrow keys, to read its numbers.'
  return el(
    'div',
    {},
    el(
      'p',
      { class: 'tokens', role: 'group', 'aria-label': 'Tokens of the prompt' },
      nodes.flatMap((node) => (apart ? [node, ' '] : [node])),
    ),
    live,
  )
}

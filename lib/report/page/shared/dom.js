/** Elements and small helpers; all text goes in as text, never as markup. */

export { capital, fileName, modelName, number, percent, plural, pValue, share } from '../../finding/words.ts'

/** An element; attributes that are undefined or false are left out, functions become listeners. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) {
      continue
    }
    if (typeof value === 'function') {
      node.addEventListener(name, value)
    } else {
      node.setAttribute(name, value === true ? '' : value)
    }
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null))
  return node
}

/** A labelled native menu; `choose` gets the value. */
export function menu(label, options, value, choose) {
  const select = el(
    'select',
    { change: (event) => choose(event.target.value) },
    options.map(({ value: own, text }) => el('option', { value: own, selected: own === value }, text ?? own)),
  )
  return el('label', { class: 'menu' }, el('span', {}, label), select)
}

/** What is said where a part was not measured, with the command that measures it, where there is one. */
export function absent(text, command) {
  return el('p', { class: 'absent' }, `${text} `, command ? el('code', {}, command) : undefined)
}

export function table(rows, caption) {
  const columns = Object.keys(rows[0] ?? {})
  const numeric = columns.map((name) => rows.every((row) => typeof row[name] === 'number'))
  return el(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el(
      'table',
      {},
      el('caption', { class: 'hidden' }, caption),
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          columns.map((name) => el('th', { scope: 'col' }, name)),
        ),
      ),
      el(
        'tbody',
        {},
        rows.map((row) =>
          el(
            'tr',
            {},
            columns.map((name, c) => cell(row[name], numeric[c])),
          ),
        ),
      ),
    ),
  )
}

function cell(value, numeric) {
  const text =
    typeof value !== 'number' ? (value ?? '') : Number.isInteger(value) ? `${value}` : value.toPrecision(4)
  return el('td', { class: numeric ? 'number' : undefined }, `${text}`.replace('-', numeric ? '−' : '-'))
}

/**
 * Makes a row or grid of elements one stop of the Tab key, with arrow keys inside it. `step` gives the index
 * that a key leads to from another, or undefined.
 */
export function roving(nodes, step, current = 0) {
  let at = Math.min(Math.max(current, 0), nodes.length - 1)
  nodes.forEach((node, i) => {
    node.setAttribute('tabindex', i === at ? '0' : '-1')
    node.addEventListener('focus', () => {
      nodes[at].setAttribute('tabindex', '-1')
      at = i
      node.setAttribute('tabindex', '0')
    })
    node.addEventListener('keydown', (event) => {
      const next = step(event.key, i)
      if (next === undefined || !nodes[next]) {
        return
      }
      event.preventDefault()
      nodes[next].focus()
    })
  })
}

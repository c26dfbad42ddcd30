/** Parts of a chart as SVG text: a frame with axes, marks, a legend. 700 wide, as pages show it. */

export const WIDTH = 700
export const INK = '#1f2933'
export const SOFT = '#5b6875'
export const GRID = '#d5dbe1'
export const BLUE = '#1d5fbf'
export const ORANGE = '#c2410c'
export const GREEN = '#15803d'
export const PURPLE = '#7c3aed'
export const GREY = '#8794a1'

export const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
export const n = (x) => Number(x.toFixed(2))

export function text(x, y, words, { anchor = 'start', fill = INK, size = 13, weight = 400, turn } = {}) {
  const place = turn ? `transform="translate(${n(x)} ${n(y)}) rotate(${turn})"` : `x="${n(x)}" y="${n(y)}"`
  return `<text ${place} text-anchor="${anchor}" fill="${fill}" font-size="${size}" font-weight="${weight}">${escaped(words)}</text>`
}

export function line(x1, y1, x2, y2, stroke = GRID, width = 1, dash) {
  const dashes = dash ? ` stroke-dasharray="${dash}"` : ''
  return `<line x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}" stroke="${stroke}" stroke-width="${width}"${dashes}/>`
}

export function curve(points, stroke, width = 2, opacity = 1) {
  const at = points.map(([x, y]) => `${n(x)},${n(y)}`).join(' ')
  return `<polyline points="${at}" fill="none" stroke="${stroke}" stroke-width="${width}" stroke-opacity="${opacity}" stroke-linejoin="round"/>`
}

export function dot(x, y, fill, r = 3.5) {
  return `<circle cx="${n(x)}" cy="${n(y)}" r="${r}" fill="${fill}"/>`
}

/** Gridlines, tick labels and the names of both axes around a box; `x` and `y` are scales with a domain. */
export function axes({ x, y, box, xTicks, yTicks, xName, yName, format = String }) {
  const { left, right, top, bottom } = box
  return [
    ...xTicks.flatMap((tick) => [
      line(x(tick), top, x(tick), bottom),
      text(x(tick), bottom + 17, format(tick), { anchor: 'middle', fill: SOFT, size: 12 }),
    ]),
    ...yTicks.flatMap((tick) => [
      line(left, y(tick), right, y(tick)),
      text(left - 6, y(tick) + 4, format(tick), { anchor: 'end', fill: SOFT, size: 12 }),
    ]),
    xName ? text((left + right) / 2, bottom + 37, xName, { anchor: 'middle' }) : '',
    yName ? text(left - 40, (top + bottom) / 2, yName, { anchor: 'middle', turn: -90 }) : '',
  ]
}

/** Entries [words, colour] one after another. */
export function legend(left, top, entries) {
  let x = left
  return entries.flatMap(([words, colour]) => {
    const parts = [dot(x + 5, top - 4, colour, 5), text(x + 16, top, words, { size: 12.5 })]
    x += 34 + 6.9 * words.length
    return parts
  })
}

/** The whole picture, on white so that dark pages show it alike. */
export function picture(height, title, parts) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
${text(16, 26, title, { size: 15, weight: 600 })}
${parts.flat().filter(Boolean).join('\n')}
</svg>
`
}

/** SVG elements for drawings that are no plots. */

const SVG = 'http://www.w3.org/2000/svg'

/** An SVG element; attributes that are undefined are left out, a string child becomes its text. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) {
      node.setAttribute(name, value)
    }
  }
  node.append(...children.flat(3).filter((child) => child instanceof Node || typeof child === 'string'))
  return node
}

/** The root of a drawing, as large as it says. */
export const canvas = (width, height, ...children) =>
  svg(
    'svg',
    { width, height, viewBox: `0 0 ${width} ${height}`, 'font-size': 12, fill: 'currentColor' },
    ...children,
  )

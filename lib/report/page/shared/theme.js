/** Colours, read from the style so that figures follow the scheme; the switch between light and dark. */

import * as d3 from 'd3'
import { el } from './dom.js'

const root = document.documentElement

export const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim()

/** Half way to the ground: of what claims less. */
export const paler = (name) => d3.interpolateLab(colour(name), colour('surface'))(0.6)

const FEATURE_COLOURS = 7

/**
 * Of the nth feature; the palette is Okabe and Ito's, which colour-blind readers can tell apart. Where there are
 * more features it comes again, paler and then stronger.
 */
export function featureColour(index) {
  const own = colour(`feature-${index % FEATURE_COLOURS}`)
  const round = Math.floor(index / FEATURE_COLOURS) % 3
  return round === 0 ? own : d3.interpolateLab(own, colour(round === 1 ? 'surface' : 'ink'))(0.5)
}

/** From blue through the page's own shade to orange, for signed values. */
export function diverging(largest) {
  const scale = d3.scaleLinear(
    [-(largest || 1), 0, largest || 1],
    [colour('below'), colour('zero'), colour('above')],
  )
  return scale.interpolate(d3.interpolateLab).clamp(true)
}

export function sequential(largest) {
  const scale = d3.scaleLinear([0, largest || 1], [colour('zero'), colour('much')])
  return scale.interpolate(d3.interpolateLab).clamp(true)
}

/** Black or white, whichever is read more easily on a colour. */
export function inkOn(background) {
  const { r, g, b } = d3.rgb(background)
  const light = [r, g, b].map((c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4))
  const luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
  // At this luminance, black and white have the same contrast ratio with the background.
  // The better of the two therefore always reaches 4.5.
  return luminance > 0.179 ? '#000' : '#fff'
}

const darkScheme = matchMedia('(prefers-color-scheme: dark)')
const printMedia = matchMedia('print')

/** The reader's choice, or the system's; paper is always light. `redraw` is told whether it is for paper. */
export function themeSwitch(redraw) {
  let chosen
  let paper = printMedia.matches
  const button = el('button', { type: 'button', class: 'theme', click: () => toggle() })
  const isDark = () => !paper && (chosen ? chosen === 'dark' : darkScheme.matches)
  const apply = () => {
    root.dataset.theme = isDark() ? 'dark' : 'light'
    button.textContent = isDark() ? 'Light colours' : 'Dark colours'
    redraw(paper)
  }
  const toggle = () => {
    chosen = isDark() ? 'light' : 'dark'
    apply()
  }
  const printing = (on) => {
    if (paper === on) {
      return
    }
    paper = on
    apply()
  }
  darkScheme.addEventListener('change', apply)
  printMedia.addEventListener('change', ({ matches }) => printing(matches))
  addEventListener('beforeprint', () => printing(true))
  addEventListener('afterprint', () => printing(false))
  root.dataset.theme = isDark() ? 'dark' : 'light'
  button.textContent = isDark() ? 'Light colours' : 'Dark colours'
  return button
}

/** Results of cells in one file, written whole after every cell, so that a run goes on where the last one stopped. */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export class Results {
  #data

  constructor(file, { fresh = false } = {}) {
    this.file = file
    this.#data =
      !fresh && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { machines: [], cells: {} }
  }

  /** Undefined where the cell was not measured, or with other parameters. */
  get({ id, params }) {
    const found = this.#data.cells[id]
    return found && same(found.params, params) ? found.result : undefined
  }

  /** `machine`: what it was measured on, with versions. */
  add({ id, params }, result, seconds, machine) {
    const { machines, cells } = this.#data
    const { date, ...rest } = machine
    let at = machines.findIndex((known) => same(known, rest))
    if (at < 0) {
      at = machines.push(rest) - 1
    }
    cells[id] = { params, result, machine: at, date, seconds: Math.round(seconds) }
    this.#write()
  }

  /** One cell a line, so that a change of one shows as one. */
  #write() {
    const { machines, cells } = this.#data
    const lines = Object.entries(cells).map(([id, cell]) => `${JSON.stringify(id)}: ${JSON.stringify(cell)}`)
    const text = `{"machines": ${JSON.stringify(machines)},\n"cells": {\n${lines.join(',\n')}\n}}\n`
    mkdirSync(path.dirname(this.file), { recursive: true })
    writeFileSync(`${this.file}.partial`, text)
    renameSync(`${this.file}.partial`, this.file)
  }
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)

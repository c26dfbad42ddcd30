/**
 * Makes the API reference, as HTML, of what `qkspace` and `qkspace/arrays` export:
 *
 *   npm run docs [-- --out build/reference] [--entry lib/index.ts --tsconfig tsconfig.json]
 *
 * TypeDoc, and the TypeScript that it takes, are a package of their own in docs/tool. A missing comment fails it: every
 * exported name has one, and every property and method of it. Members of an object type written in place are
 * described by the comment of the property that has the type.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('../../', import.meta.url))
const tool = path.join(root, 'docs', 'tool')
const { values: options } = parseArgs({
  options: {
    entry: { type: 'string', multiple: true },
    tsconfig: { type: 'string', default: 'tsconfig.json' },
    out: { type: 'string', default: path.join('build', 'reference') },
  },
})
const out = path.resolve(root, options.out)

/** TypeDoc's number for the kind of a module. */
const MODULE = 2

install()
const document = makeReference()
const missing = undocumented(document)
if (missing.length > 0) {
  fail(`without a comment:\n  ${missing.join('\n  ')}`)
}
process.stdout.write(`${path.relative(root, path.join(out, 'index.html'))}\n`)

function install() {
  if (existsSync(path.join(tool, 'node_modules', 'typedoc'))) return
  const npm = process.env.npm_execpath
  const [command, first] = npm ? [process.execPath, [npm]] : ['npm', []]
  run(command, [...first, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'])
}

/** The HTML in `out`, and TypeDoc's model of what is exported. */
function makeReference() {
  mkdirSync(out, { recursive: true })
  const json = `${out}.json`
  const entries = (options.entry ?? []).flatMap((entry) => ['--entryPoints', path.resolve(root, entry)])
  const typedoc = path.join(tool, 'node_modules', 'typedoc', 'bin', 'typedoc')
  const tsconfig = ['--tsconfig', path.resolve(root, options.tsconfig)]
  const output = ['--out', out, '--json', json]
  run(process.execPath, [typedoc, '--options', 'typedoc.json', ...tsconfig, ...output, ...entries])
  return JSON.parse(readFileSync(json, 'utf8'))
}

/** Names, as in `Model.sites`, that lack a comment. */
function undocumented(project) {
  const found = new Set()
  const visit = (reflection, owner) => {
    const name = owner ? `${owner}.${reflection.name}` : reflection.name
    // Functions and accessors carry their comments on their signatures.
    const signatures = [...(reflection.signatures ?? []), reflection.getSignature].filter(Boolean)
    const documented = reflection.comment || signatures.some(({ comment }) => comment)
    if (!documented && !isPassedOver(reflection)) {
      found.add(name)
    }
    for (const child of reflection.children ?? []) {
      visit(child, name)
    }
  }
  // Several entry points are a module each; the names of a single one stand by themselves.
  const isModule = ({ kind }) => kind === MODULE
  for (const exported of project.children.flatMap((one) => (isModule(one) ? one.children : [one]))) {
    visit(exported)
  }
  return [...found].sort()
}

/** A name exported once more, a constructor, and what is inherited from elsewhere. */
function isPassedOver({ variant, name, inheritedFrom, target }) {
  return (
    variant === 'reference' || target !== undefined || name === 'constructor' || inheritedFrom !== undefined
  )
}

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: tool, encoding: 'utf8' })
  if (status !== 0) {
    fail(`${stdout}${stderr}`)
  }
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

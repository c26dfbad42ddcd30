/** Where results are written: probed before the work, links and modes as they were, nothing of another kind replaced. */

import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledWords } from '../dist/bundled/files.js'
import { boxesOrder, writePrompts, writeReport } from '../dist/index.js'
import { checkWritable, writeFileAtomically } from '../dist/store/atomic-file.js'
import { checkJsonPath, writeJsonFile } from '../dist/store/json-file.js'
import { exportToy } from '../dist/toy/export.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { boxesResult } from './helpers/small-results.js'

const folder = temporaryFolder(test)

/** A new folder. */
function fresh(name) {
  const made = path.join(folder, name)
  mkdirSync(made)
  return made
}

const write = (file, text) => writeFileAtomically(file, [Buffer.from(text)])

test('a link stays one, and what it leads to is written', async (t) => {
  const at = fresh('links')
  mkdirSync(path.join(at, 'far'))
  const real = path.join(at, 'far', 'real.json')
  writeFileSync(real, 'before')
  symlinkSync('far/real.json', path.join(at, 'link.json'))
  symlinkSync('link.json', path.join(at, 'second.json'))
  await write(path.join(at, 'second.json'), 'after')
  t.is(readFileSync(real, 'utf8'), 'after')
  t.is(readlinkSync(path.join(at, 'link.json')), 'far/real.json')
  t.true(lstatSync(path.join(at, 'second.json')).isSymbolicLink())
  t.deepEqual(readdirSync(at).sort(), ['far', 'link.json', 'second.json'])
  t.deepEqual(readdirSync(path.join(at, 'far')), ['real.json'])
})

test('a link to what is not there yet makes it; one into a missing folder, or round in a circle, is refused', async (t) => {
  const at = fresh('dangling')
  symlinkSync('later.json', path.join(at, 'link.json'))
  await write(path.join(at, 'link.json'), 'made')
  t.is(readFileSync(path.join(at, 'later.json'), 'utf8'), 'made')
  t.true(lstatSync(path.join(at, 'link.json')).isSymbolicLink())
  symlinkSync('none/x.json', path.join(at, 'lost.json'))
  await t.throwsAsync(write(path.join(at, 'lost.json'), 'x'), {
    code: 'ERR_FILE',
    message: /there is no folder .*none/,
  })
  symlinkSync('round.json', path.join(at, 'round.json'))
  await t.throwsAsync(write(path.join(at, 'round.json'), 'x'), {
    code: 'ERR_FILE',
    message: /round in a circle/,
  })
})

test('the mode of a file that is replaced is kept', async (t) => {
  const at = fresh('modes')
  for (const mode of [0o600, 0o640, 0o666, 0o755]) {
    const file = path.join(at, `${mode}`)
    writeFileSync(file, 'before')
    chmodSync(file, mode)
    await write(file, 'after')
    t.is(readFileSync(file, 'utf8'), 'after')
    t.is(statSync(file).mode & 0o7777, mode)
  }
  const plain = path.join(at, 'plain')
  writeFileSync(plain, '')
  const made = path.join(at, 'made')
  await write(made, 'new')
  t.is(statSync(made).mode, statSync(plain).mode)
})

const asRoot = process.getuid?.() === 0 ? test : (title, fn) => test.skip(`${title} (needs root)`, fn)

asRoot('the owner of a file that is replaced is kept', async (t) => {
  const file = path.join(fresh('owner'), 'x')
  writeFileSync(file, 'before')
  spawnSync('chown', ['1234:2345', file])
  await write(file, 'after')
  t.like(statSync(file), { uid: 1234, gid: 2345 })
})

test('names as long as the file system takes are written, longer ones are refused at once', async (t) => {
  const at = fresh('names')
  const longest = 'n'.repeat(255)
  await write(path.join(at, longest), 'x')
  t.deepEqual(readdirSync(at), [longest])
  const error = { code: 'ERR_FILE', message: /its name is too long/ }
  await t.throwsAsync(checkWritable(path.join(at, `${longest}n`)), error)
  await t.throwsAsync(write(path.join(at, `${longest}n`), 'x'), error)
})

test('what is no name of a file is an error of the type', async (t) => {
  for (const file of [undefined, null, 5, '', {}]) {
    await t.throwsAsync(write(file, 'x'), { code: 'ERR_TYPE', message: /a file is named by its path/ })
  }
})

const onLinux = process.platform === 'linux' ? test : (title, fn) => test.skip(`${title} (needs /proc)`, fn)

onLinux('a folder that takes no files is found out before the work starts', async (t) => {
  const error = { code: 'ERR_FILE', message: /cannot write \/proc\/x\.json: .*in the folder \/proc/ }
  await t.throwsAsync(checkWritable('/proc/x.json'), error)
  const model = ['--model', 'none.onnx', '--prompts', 'none.jsonl']
  for (const args of [
    ['decompose', ...model, '--out', '/proc/x.safetensors'],
    ['sweep', ...model, '--out', '/proc/x.csv'],
    ['attribute', ...model, '--result', 'none', '--out', '/proc/x.json'],
    ['intervene', ...model, '--result', 'none', '--out', '/proc/x.json'],
    ['explain', '--model', 'none.onnx', '--prompt', 'a', '--out', '/proc/x.html'],
    ['report', 'none.safetensors', '--out', '/proc/x.html'],
    ['export', 'none.safetensors', '--out', '/proc/x.npz'],
    ['prompts', 'boxes', '--objects', 'none', '--out', '/proc/x.jsonl'],
    ['toy', 'train', '--task', '1', '--r1', '3', '--r2', '3', '--out', '/proc/x.onnx'],
    ['paper', '--out', '/proc'],
    ['demo', '--out', '/proc'],
  ]) {
    const { status, stderr } = await runCommand(folder, args)
    t.is(status, 1, args.join(' '))
    t.regex(stderr, /cannot write \/proc\/\S+: .*the folder \/proc/, args.join(' '))
  }
})

/** A read-only file system; undefined where that is not allowed. */
function mountReadOnly(name) {
  const place = fresh(name)
  const options = { stdio: /** @type {const} */ ('ignore') }
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place], options).status !== 0) {
    return undefined
  }
  writeFileSync(path.join(place, 'there.json'), '')
  spawnSync('mount', ['-o', 'remount,ro', place], options)
  return { place, unmount: () => spawnSync('umount', [place]) }
}

const tried = mountReadOnly('may-mount')
tried?.unmount()
const withMount = tried ? test : (title, fn) => test.skip(`${title} (needs leave to mount a tmpfs)`, fn)

withMount('a read-only file system is found out by the probe', async (t) => {
  const disk = mountReadOnly('read-only')
  try {
    const error = { code: 'ERR_FILE', message: /read-only|permission denied/ }
    await t.throwsAsync(checkWritable(path.join(disk.place, 'new.json')), error)
    await t.throwsAsync(checkWritable(path.join(disk.place, 'there.json')), error)
  } finally {
    disk.unmount()
  }
})

/** A process that has begun to write into a folder, and goes on for ever. */
async function writer(at) {
  const store = new URL('../dist/store/atomic-file.js', import.meta.url)
  const script = `
    const { writeFileAtomically } = await import(${JSON.stringify(store)})
    async function* chunks() {
      yield Buffer.from('begun')
      console.log('begun')
      setInterval(() => {}, 1000)
      await new Promise(() => {})
    }
    await writeFileAtomically('x.json', chunks())`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: at })
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return child
}

const ended = (child) => new Promise((resolve) => child.once('close', resolve))
const parts = (at) => readdirSync(at).filter((name) => name.endsWith('.part'))

test('what a killed process left is removed by the next one; what a living one writes is let be', async (t) => {
  const at = fresh('stale')
  const [killed, living] = [await writer(at), await writer(at)]
  try {
    t.is(parts(at).length, 2)
    killed.kill('SIGKILL')
    await ended(killed)
    writeFileSync(
      path.join(at, `.qkspace-00000000-${killed.pid}-${'0'.repeat(12)}.part`),
      'of another machine',
    )
    t.is(parts(at).length, 3)
    await write(path.join(at, 'y.json'), 'y')
    const left = parts(at)
    t.is(left.length, 2)
    t.true(left.some((name) => name.includes(`-${living.pid}-`)))
    t.true(left.some((name) => name.includes('-00000000-')))
  } finally {
    living.kill('SIGKILL')
    await ended(living)
  }
})

test('an ending that is not of the kind is refused, and nothing is written', async (t) => {
  const at = fresh('endings')
  const result = await boxesResult({}, { heads: 'L3H0', prompts: 24 })
  const prompts = boxesOrder({ ...bundledWords(), prompts: 2, seed: 1 })
  const kind = { name: 'a document', first: 'a', fields: [] }
  /** @type {[Promise<unknown>, RegExp][]} */
  const refused = [
    [
      writeReport(path.join(at, 'README.md'), { results: [{ name: 'r', value: result }] }),
      /a report is saved as \.html/,
    ],
    [writePrompts(path.join(at, 'x.txt'), prompts), /a prompt set is saved as \.jsonl/],
    [writeJsonFile(path.join(at, 'x.txt'), { a: 1 }, kind), /a document is saved as \.json/],
    // @ts-expect-error no toy is needed for the name to be refused
    [exportToy(path.join(at, 'x.txt'), {}), /a toy model is saved as \.onnx/],
    [result.save(path.join(at, 'x.txt')), /x\.txt ends in \.txt/],
  ]
  for (const [made, message] of refused) {
    await t.throwsAsync(made, { code: 'ERR_ARGUMENT', message })
  }
  t.deepEqual(readdirSync(at), [])
})

test('the commands refuse such an ending before the work, as bad usage', async (t) => {
  const model = ['--model', 'none.onnx', '--prompts', 'none.jsonl']
  for (const args of [
    ['decompose', ...model, '--out', 'x.txt'],
    ['attribute', ...model, '--result', 'none', '--out', 'x.txt'],
    ['intervene', ...model, '--result', 'none', '--out', 'x.txt'],
    ['explain', '--model', 'none.onnx', '--prompt', 'a', '--out', 'x.txt'],
    ['capture', '--model', 'none.onnx', '--prompt', 'a', '--out', 'x.txt'],
    ['report', 'none.safetensors', '--out', 'README.md'],
    ['export', 'none.safetensors', '--out', 'x.txt'],
    ['prompts', 'boxes', '--out', 'x.txt'],
    ['toy', 'train', '--task', '1', '--r1', '3', '--r2', '3', '--out', 'x.txt'],
  ]) {
    const { status, stderr, left } = await runCommand(folder, args)
    t.is(status, 2, args.join(' '))
    t.regex(stderr, /(x\.txt|README\.md)/, args.join(' '))
    t.deepEqual(left, [])
  }
})

test('a document is never put in the place of one of another kind', async (t) => {
  const at = fresh('kinds')
  const kinds = {
    attribution: { name: 'an attribution', first: 'model', fields: ['"features": [', '"examples": ['] },
    edits: { name: 'an intervention document', first: 'model', fields: ['"variants": ['] },
  }
  const documents = {
    attribution: { model: 'm', features: [], examples: [] },
    edits: { model: 'm', heads: [], variants: [] },
    // Deeper fields of the same names are those of something else.
    other: { model: { features: [], examples: [], variants: [] }, name: 'config' },
  }
  for (const [name, document] of Object.entries(documents)) {
    writeFileSync(path.join(at, `${name}.json`), JSON.stringify(document, null, 2))
  }
  for (const [name, kind] of Object.entries(kinds)) {
    for (const found of Object.keys(documents)) {
      const checked = checkJsonPath(path.join(at, `${found}.json`), kind)
      if (found === name) {
        await t.notThrowsAsync(checked)
      } else {
        await t.throwsAsync(checked, {
          code: 'ERR_FILE',
          message: new RegExp(`it exists, and is not ${kind.name}`),
        })
      }
    }
  }
  // A field may lie where two pieces of a long file meet.
  for (let pad = 65536 - 60; pad < 65536; pad++) {
    const long = { model: 'm'.repeat(pad), features: [], examples: [] }
    writeFileSync(path.join(at, 'long.json'), JSON.stringify(long, null, 2))
    await t.notThrowsAsync(checkJsonPath(path.join(at, 'long.json'), kinds.attribution), `${pad}`)
  }
})

test('demo: a foreign file in the folder is found out before the work starts', async (t) => {
  const at = fresh('demo')
  writeFileSync(path.join(at, 'report.html'), '<p>thesis</p>')
  const { status, stderr } = await runCommand(folder, ['demo', '--out', at])
  t.is(status, 1)
  t.regex(stderr, /report\.html: it exists, and is not a report of qkspace/)
  t.deepEqual(readdirSync(at), ['report.html'])
})

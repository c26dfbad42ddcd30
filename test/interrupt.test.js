/** Ctrl-C: commands end by the signal itself, also in the middle of a long computation, and leave nothing. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import test from 'ava'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const dist = (file) => fileURLToPath(new URL(`../dist/${file}`, import.meta.url))
const url = (file) => JSON.stringify(pathToFileURL(dist(file)).href)

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} in the middle of a file removes it, and is what the process ends by`, async (t) => {
    const own = path.join(folder, signal)
    mkdirSync(own)
    const file = path.join(own, 'x.bin')
    const script = `
      import { endAtOnceOnSignals } from ${url('cli/common/interrupt.js')}
      import { writeFileAtomically } from ${url('store/atomic-file.js')}
      import { readdirSync } from 'node:fs'
      endAtOnceOnSignals()
      const chunk = Buffer.alloc(1 << 20)
      await writeFileAtomically(${JSON.stringify(file)}, (function* () {
        yield chunk
        console.log(readdirSync(${JSON.stringify(own)}).filter((f) => f.endsWith('.part')).length)
        process.kill(process.pid, '${signal}')
        for (let i = 0; i < 1e5; i++) yield chunk
      })())`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script])
    const text = await child.stdout.setEncoding('utf8').toArray()
    const [, killedBy] =
      child.exitCode === null && child.signalCode === null
        ? await once(child, 'close')
        : [0, child.signalCode]
    t.is(text.join('').trim(), '1', 'the file was half written')
    t.is(killedBy, signal)
    t.deepEqual(readdirSync(own), [])
  })
}

test('a computation that keeps the event loop does not keep the signal', async (t) => {
  const script = `
    import { endAtOnceOnSignals } from ${url('cli/common/interrupt.js')}
    import { progressBar } from ${url('cli/common/output.js')}
    endAtOnceOnSignals()
    process.stderr.isTTY = true
    const bar = progressBar('prompts')
    bar.update(0, 10)
    console.log('started')
    for (;;);`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script])
  const closed = once(child, 'close')
  await once(child.stdout, 'data')
  child.kill('SIGINT')
  t.is((await closed)[1], 'SIGINT')
})

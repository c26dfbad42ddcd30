/** A Redis of one's own, workers and submitted runs, all of them real processes. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import { boxesOrder } from '../../dist/contrast/families/boxes.js'
import { promptLine } from '../../dist/contrast/write-prompts.js'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Why tests with Redis cannot run here; undefined where they can. */
export const noRedis =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'redis-server is not installed'

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** redis-server on a free port of the loopback; what it was told is on the disk before it answers. */
export class RedisServer {
  #child
  /** @type {string} */
  folder
  /** @type {number} */
  port

  static async start(folder) {
    const server = new RedisServer()
    server.folder = path.join(folder, 'redis')
    server.port = await freePort()
    mkdirSync(server.folder, { recursive: true })
    await server.begin()
    return server
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`
  }

  async begin() {
    const settings = {
      bind: '127.0.0.1',
      port: this.port,
      dir: this.folder,
      appendonly: 'yes',
      appendfsync: 'always',
      save: '',
    }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`])
    this.#child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    /** @type {Promise<void>} */
    const ready = new Promise((resolve, reject) => {
      this.#child.stdout.setEncoding('utf8').on('data', (text) => {
        said += text
        if (said.includes('Ready to accept connections')) {
          resolve()
        }
      })
      this.#child.once('exit', () => reject(new Error(`redis-server did not start: ${said}`)))
    })
    await ready
  }

  /** SIGKILL, or an orderly end. */
  async end(signal = 'SIGKILL') {
    const child = this.#child
    const closed = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    child.kill(signal)
    await closed
  }

  /** Changes a setting while it runs. */
  async set(name, value) {
    const { Redis } = await import('ioredis')
    const client = new Redis(this.url)
    await client.config('SET', name, value)
    client.disconnect()
  }
}

/** A process of the command, with what it prints. */
export class Running {
  stdout = ''
  stderr = ''

  /**
   * `core`: the one that it and its children run on, on Linux.
   * @param {string[]} args
   * @param {{ env?: Record<string, string>, cwd?: string, command?: string, core?: number }} [options]
   */
  constructor(args, { env = {}, cwd, command = cli, core } = {}) {
    const pinned = core === undefined ? [] : ['taskset', '--cpu-list', `${core}`]
    const [program, ...words] = [...pinned, process.execPath, command, ...args]
    this.child = spawn(program, words, { cwd, env: { ...process.env, ...env } })
    for (const name of ['stdout', 'stderr']) {
      this.child[name].setEncoding('utf8').on('data', (text) => {
        this[name] += text
      })
    }
    this.ended = once(this.child, 'close').then(([status, signal]) => ({
      status,
      signal,
      stdout: this.stdout,
      stderr: this.stderr,
    }))
  }

  get pid() {
    return this.child.pid
  }

  get isAlive() {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Waits until it has printed something. */
  async says(pattern) {
    while (!pattern.test(this.stdout + this.stderr)) {
      if (!this.isAlive) {
        throw new Error(`it ended without ${pattern}: ${this.stdout}${this.stderr}`)
      }
      await pause(20)
    }
  }

  /** Processes that it has started, by the process table. */
  get children() {
    return childrenOf(this.pid)
  }

  /** @param {NodeJS.Signals} signal */
  async kill(signal = 'SIGKILL') {
    this.child.kill(signal)
    return this.ended
  }
}

function childrenOf(parent) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
      } catch {
        return false
      }
    })
    .map(Number)
}

/** A shared folder with prompts and `models.json`, and a Redis. */
export class Cluster {
  #started = new Set()
  /** @type {string} */
  folder
  /** @type {string} */
  models
  /** @type {RedisServer} */
  redis

  static async start(folder, { prompts = 64 } = {}) {
    const cluster = new Cluster()
    cluster.folder = folder
    mkdirSync(folder, { recursive: true })
    cluster.writePrompts('prompts.jsonl', prompts)
    cluster.models = cluster.writeModels('models.json')
    cluster.redis = await RedisServer.start(folder)
    return cluster
  }

  at(...parts) {
    return path.join(this.folder, ...parts)
  }

  writePrompts(name, prompts) {
    const set = boxesOrder({ ...bundledWords(), prompts, seed: 1 })
    writeFileSync(this.at(name), `${set.map(promptLine).join('\n')}\n`)
  }

  /** A file of models; `entry` in the place of the bundled model. */
  writeModels(name, entry = {}, model = 'boxes') {
    const file = this.at(name)
    const boxes = {
      model: bundledFile('boxes.onnx'),
      tokenizer: bundledFile('boxes.tokenizer.json'),
      ...entry,
    }
    writeFileSync(file, JSON.stringify({ [model]: boxes }))
    return file
  }

  get place() {
    return ['--redis', this.redis.url]
  }

  /**
   * A worker that is taken over from after two seconds.
   * @param {{ models?: string, concurrency?: number, more?: string[], command?: string, core?: number }} [options]
   */
  worker({ models = this.models, concurrency = 1, more = [], command, core } = {}) {
    const args = ['worker', '--models', models, ...this.place, '--takeover', '2s', '--threads', '1']
    return this.#start([...args, '--concurrency', `${concurrency}`, ...more], { command, core })
  }

  #start(args, options) {
    const running = new Running(args, options)
    this.#started.add(running)
    return running
  }

  submitArguments(
    command,
    { shards = 4, out = `${command}.safetensors`, prompts = 'prompts.jsonl', more = [] } = {},
  ) {
    return [
      'submit',
      command,
      ...this.place,
      '--models',
      this.models,
      '--model',
      'boxes',
      '--prompts',
      this.at(prompts),
      '--shards',
      `${shards}`,
      '--folder',
      this.at('runs'),
      '--out',
      this.at(out),
      '--json',
      ...more,
    ]
  }

  submit(command, options) {
    return this.#start(this.submitArguments(command, options))
  }

  /** Any command that looks into the queue. */
  command(...args) {
    return this.#start([...args, ...this.place])
  }

  /** `qkspace merge` of the files of a run. */
  async merge(files, out) {
    return this.#done(this.#start(['merge', ...files, '--out', this.at(out)]), out)
  }

  async #done(running, out) {
    const { status, stderr } = await running.ended
    if (status !== 0) {
      throw new Error(stderr)
    }
    return this.at(out)
  }

  /** The same work in one process. */
  async onePass(command, { out = `one-${command}.safetensors`, prompts = 'prompts.jsonl', more = [] } = {}) {
    const model = ['--model', bundledFile('boxes.onnx'), '--tokenizer', bundledFile('boxes.tokenizer.json')]
    const place = ['--prompts', this.at(prompts), '--out', this.at(out)]
    return this.#done(this.#start([command, ...model, ...place, ...more]), out)
  }

  shardFiles() {
    const runs = this.at('runs')
    if (!existsSync(runs)) {
      return []
    }
    return readdirSync(runs, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.safetensors'),
    )
  }

  /** Ends what is still there. */
  async end() {
    await Promise.all(
      [...this.#started].filter((running) => running.isAlive).map((running) => running.kill()),
    )
    await this.redis.end()
  }
}

export { pause }

/** Models of a Hugging Face Hub on the loopback: what is asked for, what is kept, and what is refused. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import test from 'ava'
import { bundledFile, openModel } from '../../dist/index.js'
import { temporaryFolder } from '../helpers/files.js'
import { sendBytes, startHub } from '../helpers/hub-server.js'
import { writeTinyModel } from '../helpers/tiny-model.js'

const folder = temporaryFolder(test)
const hub = startHub(test)
const model = readFileSync(bundledFile('boxes.onnx'))
const tokenizer = readFileSync(bundledFile('boxes.tokenizer.json'))
const other = readFileSync(bundledFile('induction.onnx'))
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** A repository as transformers.js wants it, with much that nobody needs. */
const FILES = {
  '.gitattributes': Buffer.from('*.onnx filter=lfs'),
  'README.md': Buffer.from('# Boxes'),
  'config.json': Buffer.from('{"model_type": "boxes"}'),
  'tokenizer.json': tokenizer,
  'tokenizer_config.json': Buffer.from('{}'),
  'pytorch_model.bin': Buffer.alloc(20_000, 1),
  'onnx/model.onnx': model,
  'onnx/model_fp16.onnx': Buffer.alloc(20_000, 2),
}

const HF = Object.keys(process.env).filter((name) =>
  /^(HF_|HUGGING|TRANSFORMERS_OFFLINE|XDG_CACHE)/.test(name),
)
for (const name of HF) {
  delete process.env[name]
}

/** An empty cache for the test that follows. */
function fresh(more = {}) {
  const home = mkdtempSync(path.join(folder, 'home-'))
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE']) {
    delete process.env[name]
  }
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: home, ...more })
  hub.requests.length = 0
  hub.fault = undefined
  return path.join(home, 'hub')
}

/** Every file of the cache, with what it links to. */
function cached(cache) {
  if (!existsSync(cache)) {
    return []
  }
  return readdirSync(cache, { recursive: true })
    .map((name) => [name, lstatSync(path.join(cache, name))])
    .filter(([, found]) => !found.isDirectory())
    .map(([name, found]) =>
      found.isSymbolicLink() ? `${name} -> ${readlinkSync(path.join(cache, name))}` : name,
    )
    .sort()
}

const asked = () => hub.requests.map(({ host, path: where }) => `${host} ${where.split('?')[0]}`)

test.serial('only what is needed is downloaded, into the layout of huggingface_hub', async (t) => {
  const commit = hub.add('org/layout', FILES)
  const cache = fresh()
  const opened = await openModel('hf:org/layout')
  t.is(opened.sites.length, 4)
  const root = path.join(cache, 'models--org--layout')
  const snapshot = `snapshots/${commit}`
  t.is(opened.path, path.join(root, snapshot, 'onnx/model.onnx'))
  t.is(opened.tokenizer.path, path.join(root, snapshot, 'tokenizer.json'))
  t.deepEqual(opened.hub, { repo: 'org/layout', revision: 'main', commit, file: 'onnx/model.onnx' })
  t.is(readFileSync(path.join(root, 'refs/main'), 'utf8'), commit)
  const git = (name) =>
    createHash('sha1').update(`blob ${FILES[name].length}\0`).update(FILES[name]).digest('hex')
  const small = ['config.json', 'tokenizer_config.json'].map((name) => [name, git(name)])
  const large = tokenizer.length < 10_000 ? git('tokenizer.json') : sha256(tokenizer)
  const places = [...small, ['tokenizer.json', large], ['onnx/model.onnx', sha256(model)]]
  t.deepEqual(
    cached(root),
    [
      'refs/main',
      ...places.map(([, hash]) => `blobs/${hash}`),
      ...places.map(([name, hash]) => {
        const up = '../'.repeat(name.split('/').length + 1)
        return `${snapshot}/${name} -> ${up}blobs/${hash}`
      }),
    ].sort(),
  )
})

test.serial('from the cache: one request, and offline none', async (t) => {
  const commit = hub.add('org/again', FILES)
  fresh()
  await openModel('hf:org/again')
  hub.requests.length = 0
  await openModel('hf:org/again')
  t.deepEqual(asked(), ['hub /api/models/org/again/revision/main'])
  hub.requests.length = 0
  process.env.HF_HUB_OFFLINE = '1'
  for (const id of ['hf:org/again', `hf:org/again@${commit}`, 'hf:org/again/onnx/model.onnx']) {
    t.is((await openModel(id)).hub.commit, commit)
  }
  t.deepEqual(hub.requests, [])
  await t.throwsAsync(openModel('hf:org/again', { dtype: 'fp16' }), {
    code: 'ERR_FILE',
    message: /no model of dtype/,
  })
  await t.throwsAsync(openModel('hf:org/again@v1'), {
    code: 'ERR_HUB',
    message: /org\/again@v1 is not in the cache/,
  })
  await t.throwsAsync(openModel('hf:org/never'), { code: 'ERR_HUB', message: /HF_HUB_OFFLINE forbids/ })
  t.deepEqual(hub.requests, [])
})

test.serial('a branch that moves on, a tag, a commit, a revision with slashes', async (t) => {
  const first = hub.add('org/moves', FILES)
  hub.move('org/moves', FILES, 'refs/pr/1')
  fresh()
  t.is((await openModel('hf:org/moves')).hub.commit, first)
  const second = hub.move('org/moves', { ...FILES, 'onnx/model.onnx': other })
  hub.requests.length = 0
  const moved = await openModel('hf:org/moves')
  t.is(moved.hub.commit, second)
  t.is(readFileSync(moved.path).length, other.length)
  // What did not change is not downloaded again.
  t.is(hub.requests.filter(({ host }) => host === 'cdn').length, 1)
  t.is((await openModel(`hf:org/moves@${first}`)).hub.commit, first)
  hub.move('org/moves', FILES, 'feature/x')
  t.is((await openModel('hf:org/moves@feature%2Fx')).hub.revision, 'feature/x')
  t.is((await openModel('hf:org/moves@refs/pr/1/onnx/model.onnx')).hub.revision, 'refs/pr/1')
  await t.throwsAsync(openModel('hf:org/moves@gone'), { code: 'ERR_HUB', message: /has no revision 'gone'/ })
  process.env.HF_HUB_OFFLINE = 'yes'
  t.is((await openModel('hf:org/moves')).hub.commit, second)
  t.is((await openModel('hf:org/moves@feature%2Fx')).hub.revision, 'feature/x')
})

test.serial('the chosen file alone, by dtype, by file, by path; of a folder of its own', async (t) => {
  const nested = { 'cpu/int4/model.onnx': other, 'cpu/int4/genai_config.json': genai('model.onnx') }
  hub.add('org/choice', { ...FILES, 'onnx/model_q4.onnx': other, ...nested })
  fresh()
  /** @type {[string, import('../../dist/index.js').OpenOptions, string][]} */
  const chosen = [
    ['hf:org/choice', { dtype: 'q4' }, 'onnx/model_q4.onnx'],
    ['hf:org/choice', { file: 'model_q4.onnx' }, 'onnx/model_q4.onnx'],
    ['hf:org/choice/onnx/model_q4.onnx', {}, 'onnx/model_q4.onnx'],
    ['hf:org/choice/cpu/int4', {}, 'cpu/int4/model.onnx'],
    ['hf:org/choice/cpu/int4/model.onnx', {}, 'cpu/int4/model.onnx'],
  ]
  for (const [id, options, file] of chosen) {
    t.is((await openModel(id, options)).hub.file, file)
  }
  t.false(asked().includes(`cdn /${sha256(model)}`))
  /** @type {[string, import('../../dist/index.js').OpenOptions, string, RegExp][]} */
  const refused = [
    ['hf:org/choice/onnx/model.onnx', { dtype: 'q4' }, 'ERR_ARGUMENT', /names a file/],
    ['hf:org/choice/onnx/none.onnx', {}, 'ERR_FILE', /no file onnx\/none\.onnx.*onnx\/model\.onnx/s],
    ['hf:org/choice/none', {}, 'ERR_HUB', /has no folder none/],
    ['hf:org/choice', { dtype: 'bnb4' }, 'ERR_FILE', /no model of dtype bnb4/],
  ]
  for (const [id, options, code, message] of refused) {
    await t.throwsAsync(openModel(id, options), { code, message })
  }
})

const genai = (filename) => Buffer.from(JSON.stringify({ model: { decoder: { filename } } }))

test.serial('weights come with the graph that names them', async (t) => {
  const file = writeTinyModel(folder, { external: true })
  const data = `${path.basename(file)}_data`
  const parts = { [path.basename(file)]: readFileSync(file), [data]: readFileSync(`${file}_data`) }
  const files = Object.fromEntries(Object.entries(parts).map(([name, bytes]) => [`onnx/${name}`, bytes]))
  hub.add('org/weights', { ...files, 'onnx/unused.onnx_data': Buffer.alloc(30_000) })
  const cache = fresh()
  t.is((await openModel('hf:org/weights')).sites.length, 1)
  t.false(cached(cache).some((name) => name.includes('unused')))
  hub.add('org/weightless', { [`onnx/${path.basename(file)}`]: readFileSync(file) })
  await t.throwsAsync(openModel('hf:org/weightless'), {
    code: 'ERR_HUB',
    message: /keeps weights in .*, which is not/,
  })
  process.env.HF_HUB_OFFLINE = '1'
  const weights = cached(cache)
    .find((name) => name.includes(`${data} ->`))
    .split(' -> ')[0]
  rmSync(path.join(cache, weights))
  await t.throwsAsync(openModel('hf:org/weights'), { code: 'ERR_HUB', message: /keeps weights in/ })
})

test.serial('the token goes to the endpoint alone', async (t) => {
  hub.add('org/private', FILES, { token: 'secret-token' })
  const cache = fresh()
  await t.throwsAsync(openModel('hf:org/private'), { code: 'ERR_HUB', message: /401/ })
  /** @type {import('../../dist/index.js').QkError} */
  const { hint } = await t.throwsAsync(openModel('hf:org/private'))
  t.regex(hint, /HF_TOKEN/)
  process.env.HF_TOKEN = 'wrong'
  /** @type {import('../../dist/index.js').QkError} */
  const error = await t.throwsAsync(openModel('hf:org/private'), { code: 'ERR_HUB' })
  t.notRegex(`${error.message} ${error.hint}`, /wrong/)
  process.env.HF_TOKEN = 'two words'
  const odd = await t.throwsAsync(openModel('hf:org/private'), { code: 'ERR_ARGUMENT' })
  t.notRegex(`${odd.message} ${odd.cause}`, /two words/)
  // The token of `hf auth login` lies in a file.
  delete process.env.HF_TOKEN
  mkdirSync(process.env.HF_HOME, { recursive: true })
  writeFileSync(path.join(process.env.HF_HOME, 'token'), 'secret-token\n')
  hub.requests.length = 0
  t.is((await openModel('hf:org/private')).sites.length, 4)
  const tokens = (which) =>
    new Set(hub.requests.filter(({ host }) => host === which).map(({ token }) => token))
  t.deepEqual([...tokens('hub')], ['Bearer secret-token'])
  t.deepEqual([...tokens('cdn')], [undefined])
  t.true(cached(cache).length > 0)
})

test.serial('a listing that goes on at another host does not get the token', async (t) => {
  hub.add('org/paged', FILES)
  fresh({ HF_TOKEN: 'secret-token' })
  const cdn = await cdnAddress()
  hub.fault = ({ host, path: where, response }) => {
    if (host === 'hub' && where.includes('/tree/')) {
      response
        .writeHead(200, { 'Content-Type': 'application/json', Link: `<${cdn}/more>; rel="next"` })
        .end('[]')
      return true
    }
    return false
  }
  hub.requests.length = 0
  await t.throwsAsync(openModel('hf:org/paged'), { code: 'ERR_HUB' })
  const [more] = hub.requests.filter(({ path: where }) => where === '/more')
  t.is(more.host, 'cdn')
  t.is(more.token, undefined)
})

/** Where large files are. */
async function cdnAddress() {
  const commit = hub.add('org/where', FILES)
  const place = `${hub.endpoint}/org/where/resolve/${commit}/onnx/model.onnx`
  const { headers } = await fetch(place, { redirect: 'manual' })
  return new URL(headers.get('location')).origin
}

test.serial('refusals name what is wrong and what to do', async (t) => {
  hub.add('org/gated', FILES, { token: 'mine', gated: true })
  hub.add('org/torch', { 'README.md': Buffer.from('x'), 'model.safetensors': Buffer.from('y') })
  hub.add('org/deep', { 'cpu/model.onnx': other, 'gpu/model.onnx': other })
  hub.add('org/two', { 'onnx/encoder_model.onnx': other, 'onnx/decoder_model_merged.onnx': other })
  const cache = fresh({ HF_TOKEN: 'yours' })
  /** @type {[string, RegExp, RegExp][]} */
  const refused = [
    ['hf:org/none', /has no repository org\/none/, /Check the name/],
    ['hf:org/gated', /no permission to read org\/gated/, /HF_TOKEN/],
    ['hf:org/torch', /has no ONNX file; it has README\.md, model\.safetensors/, /Export/],
    ['hf:org/deep', /in folders of its own: cpu\/model\.onnx, gpu\/model\.onnx/, /path of a folder/],
  ]
  for (const [id, message, hint] of refused) {
    /** @type {import('../../dist/index.js').QkError} */
    const error = await t.throwsAsync(openModel(id), { code: 'ERR_HUB', message }, id)
    t.regex(error.hint, hint)
  }
  const two = await t.throwsAsync(openModel('hf:org/two'), { code: 'ERR_ARGUMENT' })
  t.regex(two.message, /2 models, none of which is the default.*onnx\/decoder_model_merged\.onnx/s)
  t.false(cached(cache).some((name) => name.includes('refs')))
})

for (const id of [
  'hf:',
  'hf:name',
  'hf:org/',
  'hf:org/../x',
  'hf:org/na--me',
  'hf:org/name@',
  'hf:org/name@../x',
  'hf:org/name@%zz',
  'hf:org/name/../secret.onnx',
  'hf:org/name/a\\b.onnx',
]) {
  test.serial(`'${id}' names no model of the Hub, and nothing is asked`, async (t) => {
    fresh()
    await t.throwsAsync(openModel(id), { code: 'ERR_ARGUMENT' })
    t.deepEqual(hub.requests, [])
  })
}

/** What the CDN does to the model's file; everything else is answered as usual. */
function whenSending(act) {
  hub.fault = ({ host, request, response, bytes }) => {
    if (host !== 'cdn' || bytes?.length !== model.length) {
      return false
    }
    act(request, response, bytes)
    return true
  }
}

function breakInHalf(response, bytes) {
  response.writeHead(200, { 'Content-Length': bytes.length })
  response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy())
}

test.serial('a connection that breaks goes on where it ended', async (t) => {
  hub.add('org/breaks', FILES)
  fresh()
  let breaks = 1
  whenSending((request, response, bytes) => {
    if (breaks-- > 0) {
      breakInHalf(response, bytes)
    } else {
      sendBytes(request, response, bytes)
    }
  })
  t.is((await openModel('hf:org/breaks')).sites.length, 4)
  const ranges = hub.requests.filter(
    ({ host, path: where }) => host === 'cdn' && where === `/${sha256(model)}`,
  )
  t.is(ranges[0].range, undefined)
  t.regex(ranges[1].range, /^bytes=[1-9]\d*-$/)
})

test.serial('and from the beginning where the server knows no ranges', async (t) => {
  hub.add('org/rangeless', FILES)
  fresh()
  let breaks = 1
  whenSending((_, response, bytes) => {
    if (breaks-- > 0) {
      breakInHalf(response, bytes)
    } else {
      response.writeHead(200).end(bytes)
    }
  })
  t.is((await openModel('hf:org/rangeless')).sites.length, 4)
})

/** Nothing of the model may look as if it were there. */
function nothingOfTheModel(t, cache) {
  const names = cached(cache)
  t.false(
    names.some((name) => /\.onnx|refs|\.part|incomplete/.test(name) || name.includes(sha256(model))),
    `${names}`,
  )
}

/** @type {[string, (request: any, response: any, bytes: Buffer) => void, string, RegExp][]} */
const faults = [
  [
    'dies in the middle, again and again',
    (_, response, bytes) => breakInHalf(response, bytes),
    'ERR_NETWORK',
    /half|ended|terminated|closed|reach/,
  ],
  [
    'ends too early in good order',
    (_, response, bytes) => response.end(bytes.subarray(0, 1000)),
    'ERR_NETWORK',
    /1000 of/,
  ],
  [
    'sends other bytes',
    (_, response, bytes) => response.end(Buffer.from(bytes).fill(7, 500, 501)),
    'ERR_CHECKSUM',
    /its SHA-256 is/,
  ],
  [
    'sends too much',
    (_, response, bytes) => response.end(Buffer.concat([bytes, bytes])),
    'ERR_CHECKSUM',
    /more than the/,
  ],
  [
    'has no such file',
    (_, response) => response.writeHead(404).end(),
    'ERR_HUB',
    /answers with status 404 for a file of/,
  ],
  ['is out of order', (_, response) => response.writeHead(500).end(), 'ERR_HUB', /status 500/],
]

for (const [what, act, code, message] of faults) {
  test.serial(`a server that ${what}: an error, nothing kept, and next time all is well`, async (t) => {
    const repo = `org/faulty-${code.toLowerCase()}-${what.length}`
    hub.add(repo, FILES)
    const cache = fresh()
    whenSending(act)
    await t.throwsAsync(openModel(`hf:${repo}`), { code, message })
    nothingOfTheModel(t, cache)
    hub.fault = undefined
    t.is((await openModel(`hf:${repo}`)).sites.length, 4)
  })
}

test.serial('a small file with other bytes is found out by git’s own hash', async (t) => {
  hub.add('org/small', FILES)
  const cache = fresh()
  hub.fault = ({ path: where, response }) => {
    if (!where.endsWith('/config.json')) {
      return false
    }
    response.end(Buffer.from('{"model_type": "boxed"}'))
    return true
  }
  await t.throwsAsync(openModel('hf:org/small'), {
    code: 'ERR_CHECKSUM',
    message: /config\.json.*its SHA-1 is/,
  })
  nothingOfTheModel(t, cache)
})

const nonsense = [
  ['no JSON', '/revision/', 'welcome'],
  ['no commit', '/revision/', '{"id": "x"}'],
  [
    'a commit that is a path',
    '/revision/',
    JSON.stringify({ sha: '../../../x', siblings: [{ rfilename: 'model.onnx' }] }),
  ],
  [
    'a hash that is a path',
    '/tree/',
    JSON.stringify([{ type: 'file', path: 'config.json', size: 1, oid: '../../../../x' }]),
  ],
  ['an empty listing', '/tree/', '[]'],
  ['a listing that is none', '/tree/', '{}'],
]

for (const [what, where, text] of nonsense) {
  test.serial(`a server that says nonsense (${what}) is refused, and nothing is written`, async (t) => {
    hub.add('org/nonsense', FILES)
    const cache = fresh()
    hub.fault = ({ path: asks, response }) => {
      if (!asks.includes(where)) {
        return false
      }
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(text)
      return true
    }
    await t.throwsAsync(openModel('hf:org/nonsense'), { code: 'ERR_HUB', message: /what is not understood/ })
    t.deepEqual(cached(cache), [])
  })
}

test.serial('files of a repository that lead out of the cache are not taken', async (t) => {
  hub.add('org/evil', { 'onnx/../../../../evil.onnx': model, 'onnx/model.onnx': model })
  const cache = fresh()
  t.is((await openModel('hf:org/evil')).sites.length, 4)
  await t.throwsAsync(openModel('hf:org/evil', { file: 'onnx/../../../../evil.onnx' }), {
    code: 'ERR_ARGUMENT',
  })
  t.false(existsSync(path.join(cache, '../../evil.onnx')))
})

test.serial('no network', async (t) => {
  fresh({ HF_ENDPOINT: 'http://127.0.0.1:9' })
  /** @type {import('../../dist/index.js').QkError} */
  const error = await t.throwsAsync(openModel('hf:org/layout'), {
    code: 'ERR_NETWORK',
    message: /cannot reach/,
  })
  t.regex(error.hint, /HF_HUB_OFFLINE=1/)
  fresh({ HF_ENDPOINT: 'huggingface' })
  await t.throwsAsync(openModel('hf:org/layout'), { code: 'ERR_ARGUMENT', message: /HF_ENDPOINT/ })
})

test.serial('aborted, before and in the middle', async (t) => {
  hub.add('org/aborted', FILES)
  const cache = fresh()
  const early = AbortSignal.abort(new Error('enough'))
  await t.throwsAsync(openModel('hf:org/aborted', { signal: early }), { code: 'ERR_ABORTED' })
  t.deepEqual(hub.requests, [])
  const controller = new AbortController()
  whenSending((_, response, bytes) => {
    response.writeHead(200, { 'Content-Length': bytes.length })
    response.write(bytes.subarray(0, bytes.length / 2))
  })
  const onProgress = ({ file }) => {
    if (file === 'onnx/model.onnx') {
      controller.abort(new Error('enough'))
    }
  }
  const { signal } = controller
  /** @type {Error & { cause?: any }} */
  const error = await t.throwsAsync(openModel('hf:org/aborted', { signal, onProgress }), {
    code: 'ERR_ABORTED',
  })
  t.is(error.cause.message, 'enough')
  nothingOfTheModel(t, cache)
})

test.serial('progress counts every byte once', async (t) => {
  hub.add('org/progress', FILES)
  fresh()
  const seen = []
  await openModel('hf:org/progress', { onProgress: (one) => seen.push(one) })
  const needed = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'onnx/model.onnx']
  const bytes = needed.reduce((sum, name) => sum + FILES[name].length, 0)
  t.deepEqual(seen.at(-1), { file: 'onnx/model.onnx', done: bytes, total: bytes })
  t.true(seen.every(({ done, total }, i) => done <= total && done >= (seen[i - 1]?.done ?? 0)))
})

const INDEX = JSON.stringify(
  pathToFileURL(fileURLToPath(new URL('../../dist/index.js', import.meta.url))).href,
)

test.serial('two processes and two calls at once do not harm each other', async (t) => {
  hub.add('org/both', FILES)
  const cache = fresh()
  const script = `
    const { openModel } = await import(${INDEX})
    const { sites } = await openModel('hf:org/both')
    process.stdout.write(String(sites.length))
  `
  const children = [1, 2].map(() => run(script))
  const [here, also] = await Promise.all([openModel('hf:org/both'), openModel('hf:org/both')])
  t.deepEqual([here.sites.length, also.sites.length], [4, 4])
  t.deepEqual(await Promise.all(children), ['4', '4'])
  t.false(cached(cache).some((name) => name.endsWith('.part')))
  t.true(hub.requests.filter(({ host }) => host === 'cdn').length >= 2)
})

async function run(script) {
  const { spawn } = await import('node:child_process')
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  await new Promise((resolve) => child.on('close', resolve))
  return text
}

test.serial('HF_HUB_CACHE names the cache', async (t) => {
  hub.add('org/cache', FILES)
  const elsewhere = path.join(mkdtempSync(path.join(folder, 'elsewhere-')), 'cache')
  const cache = fresh({ HF_HUB_CACHE: elsewhere })
  t.true((await openModel('hf:org/cache')).path.startsWith(elsewhere))
  t.deepEqual(cached(cache), [])
})

test.serial('the library is loaded for models of the Hub alone', (t) => {
  fresh()
  const hooks = `export function resolve(name, context, next) {
    if (name === '@huggingface/hub') throw new Error('the library was asked for')
    return next(name, context)
  }`
  const open = (given) => `
    import { register } from 'node:module'
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}))
    const { bundledFile, openModel } = await import(${INDEX})
    await openModel(${given})
  `
  const end = (given) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', open(given)], { encoding: 'utf8' })
  t.is(end("bundledFile('boxes.onnx')").status, 0)
  t.regex(end("'hf:org/layout'").stderr, /the library was asked for/)
})

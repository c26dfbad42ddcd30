/** Lays out what is published: the package itself, and one a platform; `npm pack` makes the archives. */

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { npmCommand } from '../npm.mjs'
import { root, run } from './compile.mjs'
import { PLATFORMS } from './platforms.mjs'

const at = (...parts) => path.join(root, ...parts)
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'))
const writeJson = (file, value) => writeFileSync(file, `${JSON.stringify(value, undefined, 2)}\n`)

/** Of the checkout, as they are. */
const PARTS = [
  'dist',
  'lib/bundled',
  'native',
  'CMakeLists.txt',
  'docs',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
  'CITATION.cff',
  'examples',
]

/** Made by, or for, whoever works on the package. */
const LEFT_OUT = /(^|\/)(\.up-to-date|node_modules|docs\/tool)(\/|$)/

/** Fields of the manifest that only a checkout needs. */
const CHECKOUT_ONLY = ['private', 'scripts', 'devDependencies', 'binary', 'files']

/** The package `qkspace` in `folder`. */
export function stageMain(folder) {
  rmSync(folder, { recursive: true, force: true })
  for (const part of PARTS) {
    cpSync(at(part), path.join(folder, part), {
      recursive: true,
      filter: (file) => !LEFT_OUT.test(path.relative(root, file)),
    })
  }
  copyHeaders(path.join(folder, 'native', 'vendor'))
  writeJson(path.join(folder, 'package.json'), publishedManifest(readJson(at('package.json'))))
}

/** The addon comes with the package for the platform; that with the CUDA backend is for whoever asks for it. */
function publishedManifest(manifest) {
  const { version } = manifest
  const published = Object.entries(manifest).filter(([field]) => !CHECKOUT_ONLY.includes(field))
  const packages = (wanted) =>
    Object.fromEntries(
      PLATFORMS.filter(({ cuda = false }) => cuda === wanted).map(({ name }) => [
        `@qkspace/${name}`,
        version,
      ]),
    )
  const onRequest = packages(true)
  return {
    ...Object.fromEntries(published),
    optionalDependencies: packages(false),
    peerDependencies: { ...manifest.peerDependencies, ...onRequest },
    peerDependenciesMeta: {
      ...manifest.peerDependenciesMeta,
      ...Object.fromEntries(Object.keys(onRequest).map((name) => [name, { optional: true }])),
    },
  }
}

/** What the addon includes of others' headers, with their licences: whoever compiles it needs nothing else. */
function copyHeaders(folder) {
  mkdirSync(folder, { recursive: true })
  const copy = (from, to = path.basename(from)) => cpSync(at('node_modules', from), path.join(folder, to))
  for (const header of ['napi.h', 'napi-inl.h', 'napi-inl.deprecated.h']) {
    copy(`node-addon-api/${header}`)
  }
  for (const header of ['js_native_api.h', 'js_native_api_types.h', 'node_api.h', 'node_api_types.h']) {
    copy(`node-api-headers/include/${header}`)
  }
  copy('node-api-headers/def/node_api.def')
  copy('node-addon-api/LICENSE.md', 'LICENSE.node-addon-api.md')
  copy('node-api-headers/LICENSE', 'LICENSE.node-api-headers')
}

/** The package of a platform in `folder`, with its library. */
export function stagePlatform({ name, file }, library, folder) {
  rmSync(folder, { recursive: true, force: true })
  cpSync(at('npm', name), folder, { recursive: true })
  cpSync(at('LICENSE'), path.join(folder, 'LICENSE'))
  cpSync(library, path.join(folder, file))
}

/** The archive of a staged folder: its path, and what `npm pack` says of its size and files. */
export function pack(folder, destination) {
  mkdirSync(destination, { recursive: true })
  const [command, ...args] = npmCommand(
    'pack',
    '--json',
    '--ignore-scripts',
    '--pack-destination',
    destination,
  )
  const [said] = JSON.parse(run(command, args, { cwd: folder }))
  return {
    name: said.name,
    version: said.version,
    archive: path.join(destination, said.filename),
    bytes: said.size,
    unpackedBytes: said.unpackedSize,
    files: said.files.map((file) => file.path),
  }
}

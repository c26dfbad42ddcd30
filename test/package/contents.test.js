/** What is published: packages in step, complete, small, and able to load where Node 20 does. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { CUDA_PLATFORMS, PLATFORMS as LOADED_PLATFORMS } from '../../dist/backend/addon/places.js'
import { compareVersions, symbolVersions } from '../../scripts/package/check.mjs'
import { missingTool } from '../../scripts/package/compile.mjs'
import { GLIBC_FLOOR, PLATFORMS } from '../../scripts/package/platforms.mjs'
import { temporaryFolder } from '../helpers/files.js'
import { packPackages, root } from '../helpers/packages.js'

const folder = temporaryFolder(test)
const readJson = (...parts) => JSON.parse(readFileSync(path.join(...parts), 'utf8'))
const version = readJson(root, 'package.json').version

test('every package a platform has the version of qkspace, its platform, and no script', (t) => {
  t.deepEqual(readdirSync(path.join(root, 'npm')).sort(), PLATFORMS.map(({ name }) => name).sort())
  for (const { name, file } of PLATFORMS) {
    const manifest = readJson(root, 'npm', name, 'package.json')
    const [os, cpu] = name.split('-')
    t.like(manifest, {
      name: `@qkspace/${name}`,
      version,
      os: [os],
      cpu: [cpu],
      libc: ['glibc'],
      files: [file],
    })
    t.is(manifest.scripts, undefined)
    t.is(manifest.dependencies, undefined)
  }
})

test('the loader looks for the packages that are published', (t) => {
  const named = (cuda) => PLATFORMS.filter((one) => Boolean(one.cuda) === cuda).map(({ name }) => name)
  t.deepEqual(LOADED_PLATFORMS, named(false))
  t.deepEqual(
    CUDA_PLATFORMS.map((name) => `${name}-cuda`),
    named(true),
  )
})

test('qkspace: manifest, sources of the addon with headers and licences, documentation; publint and attw', async (t) => {
  t.timeout(300_000)
  const packed = (await packPackages(folder, ['qkspace'])).get('qkspace')
  const at = (...parts) => path.join(packed.staged, 'qkspace', ...parts)
  const manifest = readJson(at('package.json'))
  for (const field of ['private', 'scripts', 'devDependencies', 'binary', 'ava', 'gypfile']) {
    t.is(manifest[field], undefined, field)
  }
  t.deepEqual(manifest.optionalDependencies, {
    '@qkspace/linux-x64': version,
    '@qkspace/linux-arm64': version,
  })
  t.deepEqual(Object.keys(manifest.peerDependencies), ['bullmq', 'ioredis', '@qkspace/linux-x64-cuda'])
  t.is(manifest.peerDependencies['@qkspace/linux-x64-cuda'], version)
  for (const name of Object.keys(manifest.peerDependencies)) {
    t.true(manifest.peerDependenciesMeta[name].optional, name)
  }
  for (const name of ['cmake-js', 'node-addon-api', 'node-api-headers']) {
    t.is(manifest.dependencies[name], undefined, name)
  }

  for (const file of [
    'CMakeLists.txt',
    'native/abi.h',
    'native/vendor/napi.h',
    'native/vendor/node_api.h',
    'native/vendor/LICENSE.node-addon-api.md',
    'native/vendor/LICENSE.node-api-headers',
    'lib/bundled/boxes.onnx',
    'dist/report/page.js',
    'docs/arrays.md',
    'LICENSE',
    'CHANGELOG.md',
  ]) {
    t.true(packed.files.includes(file), file)
  }
  const unwanted = packed.files.filter((file) =>
    /^(test|bench|scripts|build|node_modules)\/|binding\.gyp|\.js\.map$|\.node$|\.so$|^lib\/(?!bundled\/)/.test(
      file,
    ),
  )
  t.deepEqual(unwanted, [])
  t.log(`${packed.files.length} files, ${(packed.unpackedBytes / 1e6).toFixed(1)} MB unpacked`)
})

const hasPortableBuild =
  existsSync(path.join(root, 'build', 'Release', 'qkspace.node')) && process.arch === 'x64'
// The one for ARM is compiled by its own test.
for (const platform of PLATFORMS.filter(({ processor }) => !processor)) {
  const missing = !hasPortableBuild ? 'Linux on x64' : missingTool(platform)
  const platformTest = missing ? test.skip : test.serial
  const title = `@qkspace/${platform.name}: contents, size, and symbols that glibc ${GLIBC_FLOOR} has`
  platformTest(missing ? `${title} (${missing})` : title, async (t) => {
    t.timeout(600_000)
    const packed = await packPackages(folder, [platform.name], ['--architectures', 'checkout'])
    const { files, bytes, symbols } = packed.get(`@qkspace/${platform.name}`)
    t.deepEqual([...files].sort(), ['LICENSE', 'README.md', 'package.json', platform.file].sort())
    t.true(bytes < platform.mostBytes)
    t.is(symbols.GLIBCXX, undefined)
    t.true(compareVersions(symbols.GLIBC, GLIBC_FLOOR) <= 0)
    t.log(`glibc ${symbols.GLIBC}, ${(bytes / 1e6).toFixed(1)} MB`)
  })
}

const linux = process.platform === 'linux' ? test : test.skip
linux('symbols above the floor are seen: those of the node that runs this', (t) => {
  const { GLIBC, GLIBCXX } = symbolVersions(process.execPath)
  t.true(compareVersions(GLIBC, '2.17') >= 0)
  t.true(compareVersions(GLIBCXX, '3.4') > 0)
  t.true(compareVersions('2.34', '2.4') > 0)
})

/**
 * A Hugging Face Hub on the loopback: the routes that a download asks for, large files by a redirect to a second port,
 * as the Hub sends them to another host.
 */

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

/** @import { IncomingMessage, ServerResponse } from 'node:http' */

/** @typedef {{ host: 'hub' | 'cdn', method: string, path: string, token?: string, range?: string }} Noted */
/**
 * @typedef {{ host: 'hub' | 'cdn', path: string, request: IncomingMessage, response: ServerResponse,
 *   bytes?: Buffer }} Asked
 */

/** From this size on a file is stored apart from git. */
const LARGE = 10_000

/** Entries of a listing that come at once. */
const PAGE = 4

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const gitHash = (bytes) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/**
 * Starts both servers before the tests, and stops them when the test file ends.
 *
 *   endpoint    what HF_ENDPOINT is set to
 *   requests    of both: { host: 'hub' | 'cdn', method, path, token, range }
 *   add(repo, files, { token, gated }?)   a repository whose main has these files; returns its commit
 *   move(repo, files, revision)   a revision, main by default, moves on to a commit with these files
 *   fault       called before an answer with { host, path, request, response, bytes }; true where it answered itself
 *
 * @param {import('ava').TestFn} test
 */
export function startHub(test) {
  const repos = new Map()
  /**
   * @type {{ endpoint?: string, requests: Noted[], fault?: (asked: Asked) => boolean | void, add: typeof add,
   *   move: typeof move }}
   */
  const hub = { requests: [], fault: undefined, add, move }
  const cdn = createServer((request, response) => {
    const bytes = [...repos.values()]
      .flatMap(({ commits }) => [...commits.values()].flatMap((files) => Object.values(files)))
      .find((one) => request.url === `/${sha256(one)}`)
    note('cdn', request)
    if (faulty('cdn', request, response, bytes)) {
      return
    }
    if (bytes) {
      sendBytes(request, response, bytes)
    } else {
      fail(response, 404, 'EntryNotFound')
    }
  })
  const front = createServer((request, response) => {
    note('hub', request)
    if (!faulty('hub', request, response)) {
      answer(request, response)
    }
  })
  let ports
  test.before(async () => {
    ports = await Promise.all([front, cdn].map(listening))
    hub.endpoint = `http://127.0.0.1:${ports[0]}`
  })
  test.after.always(() => {
    for (const server of [front, cdn]) {
      server.closeAllConnections()
      server.close()
    }
  })
  return hub

  /**
   * @param {string} repo
   * @param {Record<string, Buffer>} files
   * @param {{ token?: string, gated?: boolean }} [rights]
   */
  function add(repo, files, { token, gated = false } = {}) {
    repos.set(repo, { token, gated, commits: new Map(), refs: new Map() })
    return move(repo, files)
  }

  function move(repo, files, revision = 'main') {
    const known = repos.get(repo)
    const commit = createHash('sha1').update(`${repo} ${known.commits.size}`).digest('hex')
    known.commits.set(commit, files)
    known.refs.set(revision, commit)
    return commit
  }

  /**
   * @param {Noted['host']} host
   * @param {IncomingMessage} request
   */
  function note(host, { method, url, headers }) {
    const { authorization: token, range } = headers
    hub.requests.push({ host, method, path: url, token, range })
  }

  function faulty(host, request, response, bytes = undefined) {
    return hub.fault?.({ host, path: request.url, request, response, bytes }) === true
  }

  function answer(request, response) {
    const asked = askedFor(new URL(request.url, hub.endpoint))
    const known = repos.get(asked.repo)
    // Those who may not read a repository are not told whether it exists.
    const isAllowed = known && (!known.token || request.headers.authorization === `Bearer ${known.token}`)
    if (!known || (!isAllowed && !known.gated)) {
      fail(response, request.headers.authorization ? 404 : 401, 'RepoNotFound')
      return
    }
    const commit = known.commits.has(asked.revision) ? asked.revision : known.refs.get(asked.revision)
    const files = known.commits.get(commit)
    if (!files) {
      fail(response, 404, 'RevisionNotFound')
    } else if (asked.kind === 'revision') {
      info(response, asked.repo, commit, files)
    } else if (asked.kind === 'tree') {
      tree(response, asked.url, files)
    } else if (!isAllowed) {
      fail(response, 403, 'GatedRepo')
    } else {
      resolve(request, response, commit, files[asked.file])
    }
  }

  function info(response, repo, sha, files) {
    const siblings = Object.keys(files).map((rfilename) => ({ rfilename }))
    const lastModified = '2024-07-26T00:00:00.000Z'
    json(response, {
      _id: 'id',
      id: repo,
      private: false,
      gated: false,
      downloads: 1,
      likes: 1,
      lastModified,
      sha,
      siblings,
    })
  }

  function tree(response, { pathname, searchParams }, files) {
    const folder = { type: 'directory', path: 'onnx', size: 0, oid: gitHash(Buffer.from('folder')) }
    const listed = Object.entries(files).map(([path, bytes]) => {
      const size = bytes.length
      const lfs = size >= LARGE && { lfs: { oid: sha256(bytes), size, pointerSize: 132 } }
      // Of a large file git has only a pointer.
      return { type: 'file', path, size, oid: gitHash(lfs ? Buffer.from('pointer') : bytes), ...lfs }
    })
    const entries = [folder, ...listed]
    const from = Number(searchParams.get('cursor') ?? 0)
    const next = new URL(pathname, hub.endpoint)
    next.search = `recursive=true&cursor=${from + PAGE}`
    const more = from + PAGE < entries.length
    json(response, entries.slice(from, from + PAGE), more ? { Link: `<${next.href}>; rel="next"` } : {})
  }

  function resolve(request, response, commit, bytes) {
    if (!bytes) {
      fail(response, 404, 'EntryNotFound')
      return
    }
    response.setHeader('X-Repo-Commit', commit)
    if (bytes.length < LARGE) {
      response.setHeader('ETag', `"${gitHash(bytes)}"`)
      sendBytes(request, response, bytes)
      return
    }
    response.setHeader('X-Linked-Size', bytes.length)
    response.setHeader('X-Linked-ETag', `"${sha256(bytes)}"`)
    response.writeHead(302, { Location: `http://127.0.0.1:${ports[1]}/${sha256(bytes)}` }).end()
  }
}

/** What an address names: a revision or the tree of a repository, a file of it, or nothing that the Hub has. */
function askedFor(url) {
  const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname)
  if (api) {
    const [, repo, kind, revision] = api
    return { url, kind, repo, revision: decodeURIComponent(revision) }
  }
  const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname)
  if (!file) {
    return { url }
  }
  const [, repo, revision, name] = file
  return { url, kind: 'file', repo, revision: decodeURIComponent(revision), file: decodeURIComponent(name) }
}

function listening(server) {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)))
}

function json(response, value, headers = {}) {
  response.writeHead(200, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value))
}

function fail(response, status, code) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'X-Error-Code': code })
  response.end(JSON.stringify({ error: code }))
}

/** All of a file, or the range that is asked for. */
export function sendBytes(request, response, bytes) {
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? []
  const part = from === undefined ? bytes : bytes.subarray(Number(from))
  const headers = { 'Content-Length': part.length, 'Accept-Ranges': 'bytes' }
  if (from !== undefined) {
    headers['Content-Range'] = `bytes ${from}-${bytes.length - 1}/${bytes.length}`
  }
  response.writeHead(from === undefined ? 200 : 206, headers)
  response.end(request.method === 'HEAD' ? undefined : part)
}

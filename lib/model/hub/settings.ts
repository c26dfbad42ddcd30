/** Settings of the Hugging Face Hub from the environment, with the variables of huggingface_hub for Python. */

import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { QkError } from '../../errors.js'

export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string
  /** Folder of the cache, with a folder `models--org--name` for each repository. */
  cache: string
  token: string | undefined
  /** No network requests. */
  offline: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/** Errors: ERR_ARGUMENT, ERR_FILE (a token file that cannot be read). */
export function hubSettings(env: Environment = process.env): HubSettings {
  const home = folder(env.HF_HOME) ?? path.join(folder(env.XDG_CACHE_HOME) ?? inHome('.cache'), 'huggingface')
  return {
    endpoint: endpointOf(env.HF_ENDPOINT),
    cache: folder(env.HF_HUB_CACHE) ?? folder(env.HUGGINGFACE_HUB_CACHE) ?? path.join(home, 'hub'),
    token: tokenOf(env, home),
    offline: isTrue(env.HF_HUB_OFFLINE) || isTrue(env.TRANSFORMERS_OFFLINE),
  }
}

function endpointOf(given: string | undefined): string {
  const endpoint = (given || 'https://huggingface.co').replace(/\/+$/, '')
  if (URL.canParse(endpoint) && /^https?:/.test(endpoint)) {
    return endpoint
  }
  throw new QkError('ERR_ARGUMENT', `HF_ENDPOINT is '${given}', expected the address of a server`, {
    hint: 'Write it as in https://huggingface.co.',
  })
}

/** The token, which must never appear in a message. */
function tokenOf(env: Environment, home: string): string | undefined {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) {
    return undefined
  }
  const file = folder(env.HF_TOKEN_PATH) ?? path.join(home, 'token')
  const given = env.HF_TOKEN?.trim() || env.HUGGING_FACE_HUB_TOKEN?.trim()
  const token = given || fromFile(file)
  if (!token) {
    return undefined
  }
  // The error of `fetch` would quote a token that is not a valid header value, so it is checked here.
  if (/^[\x21-\x7e]+$/.test(token)) {
    return token
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `the token of ${given ? 'HF_TOKEN' : file} has spaces or other characters that no token has`,
  )
}

function fromFile(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return undefined
    }
    throw new QkError('ERR_FILE', `cannot read the token in ${file}: ${message}`, { cause })
  }
}

function isTrue(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? '')
}

function folder(value: string | undefined): string | undefined {
  return value ? value.replace(/^~(?=$|[\\/])/, homedir()) : undefined
}

function inHome(name: string): string {
  return path.join(homedir(), name)
}

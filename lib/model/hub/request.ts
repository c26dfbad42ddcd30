/** Requests to the Hub: who gets the token, and what a refusal means. */

import { QkError, throwIfAborted } from '../../errors.js'
import type { HubSettings } from './settings.js'

/** The requested revision of a repository, for messages. */
export interface Asked {
  repo: string
  revision: string
}

/**
 * `fetch` for one repository, also for the functions of @huggingface/hub. The token is sent only to the endpoint: it
 * is set here depending on the requested host, and `fetch` drops it on a redirect to another host. The library would
 * send it to every host, and refuse tokens that do not start with `hf_`.
 *
 * The promise rejects with ERR_HUB (refused), ERR_NETWORK (not reached) or ERR_ABORTED.
 */
export function hubFetch(settings: HubSettings, asked: Asked, signal?: AbortSignal): typeof fetch {
  const { origin } = new URL(settings.endpoint)
  return async (input, init = {}) => {
    throwIfAborted(signal)
    const url = new URL(input instanceof Request ? input.url : input)
    const headers = new Headers(init.headers)
    if (settings.token !== undefined && url.origin === origin) {
      headers.set('Authorization', `Bearer ${settings.token}`)
    }
    let response: Response
    try {
      response = await fetch(url, { ...init, headers, signal })
    } catch (cause) {
      throwIfAborted(signal)
      throw unreachable(url.origin, cause)
    }
    if (response.ok) {
      return response
    }
    await response.body?.cancel()
    throw refusal(response, settings, asked)
  }
}

/** The error of a network failure, at the beginning of a response or in the middle of one. */
export function unreachable(origin: string, cause: unknown): QkError {
  const { cause: inner, message } = cause as Error
  const why = (inner as NodeJS.ErrnoException | undefined)?.code ?? (inner as Error | undefined)?.message
  return new QkError('ERR_NETWORK', `cannot reach ${origin}: ${why ?? message}`, {
    hint: 'Models that were downloaded before can be used without the network: set HF_HUB_OFFLINE=1.',
    cause,
  })
}

function refusal(response: Response, settings: HubSettings, { repo, revision }: Asked): QkError {
  const { status } = response
  const said = response.headers.get('X-Error-Code')
  const { origin } = new URL(settings.endpoint)
  const error = (message: string, hint?: string) => new QkError('ERR_HUB', message, { hint })
  const answered = new URL(response.url)
  if (answered.origin !== origin) {
    // The Hub redirects downloads of large files to another host, with signed URLs that expire.
    return error(`${answered.origin} answers with status ${status} for a file of ${repo}`, 'Try again later.')
  }
  if (status === 403 || said === 'GatedRepo') {
    return error(
      `no permission to read ${repo} on ${origin} (status ${status})`,
      `Ask for access on ${settings.endpoint}/${repo}, and set HF_TOKEN to a token that may read it.`,
    )
  }
  if (status === 401) {
    // To users without read access, the Hub does not reveal whether a repository exists.
    return settings.token === undefined
      ? error(
          `${origin} has no repository ${repo}, or does not show it without a token (status 401)`,
          'Check the name, or set HF_TOKEN to a token that may read it.',
        )
      : error(
          `${origin} does not accept the token for ${repo} (status 401)`,
          'Check HF_TOKEN and the name; without a valid token private repositories look as if they were not there.',
        )
  }
  if (status === 404) {
    if (said === 'RevisionNotFound') {
      return error(`${repo} has no revision '${revision}'`, 'Give a branch, a tag or a commit of it.')
    }
    if (said === 'EntryNotFound') {
      return error(`${repo} does not have ${answered.pathname} any more`, 'Try again.')
    }
    const or = said === 'RepoNotFound' || revision === 'main' ? '' : `, or it has no revision '${revision}'`
    return error(
      `${origin} has no repository ${repo}${or}`,
      'Check the name. Private repositories need HF_TOKEN.',
    )
  }
  if (status === 429) {
    return error(
      `${origin} has had too many requests (status 429)`,
      'Try again later; with HF_TOKEN there may be more.',
    )
  }
  return error(`${origin} answers with status ${status} for ${repo}`, 'Try again later.')
}

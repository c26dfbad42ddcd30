/** BullMQ and Redis: loaded when a cluster is asked for, and only then. They are optional packages. */

import type { ConnectionOptions } from 'bullmq'
import { QkError } from '../errors.js'

/** Where the jobs of a cluster are. */
export interface Place {
  /** As in `redis://127.0.0.1:6379`. */
  redis: string
  /** Name of the queue in it. */
  queue: string
}

/** Errors: ERR_NOT_INSTALLED, with the line that installs them. */
export async function loadBullmq(): Promise<typeof import('bullmq')> {
  try {
    // BullMQ loads its driver itself, and says in words of its own that it is absent.
    await import('ioredis')
    return await import('bullmq')
  } catch (cause) {
    if (!['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes((cause as NodeJS.ErrnoException).code ?? '')) {
      throw cause
    }
    throw new QkError(
      'ERR_NOT_INSTALLED',
      'a cluster needs the packages bullmq and ioredis, which are not installed',
      { hint: 'Install them beside qkspace: npm install bullmq ioredis', cause },
    )
  }
}

/** A name of a queue; BullMQ puts colons between the parts of its keys. */
const QUEUE = /^[\w.-]{1,100}$/

/** Errors: ERR_ARGUMENT where the address or the name is none. */
export function checkPlace({ redis, queue }: Place): void {
  const url = URL.canParse(redis) ? new URL(redis) : undefined
  if (!url || !['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '') {
    throw new QkError('ERR_ARGUMENT', `"${redis}" is no address of Redis`, {
      hint: 'Write it as redis://127.0.0.1:6379, or rediss://user:password@host:6380 with TLS.',
    })
  }
  if (!QUEUE.test(queue)) {
    throw new QkError('ERR_ARGUMENT', `"${queue}" is no name of a queue`, {
      hint: 'Use up to 100 letters, digits, and any of . _ -',
    })
  }
}

/** The address without its password. */
export function shownAddress(redis: string): string {
  const url = new URL(redis)
  url.password = ''
  url.username = ''
  return url.href.replace(/\/$/, '')
}

/** Between two tries to reach Redis, at most. */
const LONGEST_WAIT_MS = 2000

/** A connection that is taken up again however long Redis is away: a command waits until it was answered. */
export function lastingConnection({ redis }: Place): ConnectionOptions {
  return {
    url: redis,
    maxRetriesPerRequest: null,
    retryStrategy: (times: number) => Math.min(100 * times, LONGEST_WAIT_MS),
  }
}

const FIRST_ANSWER_MS = 5000

/**
 * Asks Redis once whether it is there. Gives what may be wrong with its settings, as sentences. Errors: ERR_NETWORK,
 * ERR_NOT_INSTALLED.
 */
export async function askRedis({ redis }: Place): Promise<string[]> {
  await loadBullmq()
  const { Redis } = await import('ioredis')
  const client = new Redis(redis, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    connectTimeout: FIRST_ANSWER_MS,
  })
  let reason: Error | undefined
  client.on('error', (error: Error) => {
    reason = error
  })
  try {
    await client.connect()
    await client.ping()
    // A server of others may refuse to tell its settings.
    return await client.config('GET', 'append*').then(durability, () => [])
  } catch (cause) {
    const why = reason ?? (cause as Error)
    throw new QkError('ERR_NETWORK', `no Redis answers at ${shownAddress(redis)}: ${why.message}`, {
      hint: 'Start redis-server --appendonly yes --appendfsync always, or name another server with --redis.',
      cause,
    })
  } finally {
    client.disconnect()
  }
}

function durability(answer: unknown): string[] {
  const list = (answer as unknown[]).map(String)
  const value = (name: string) => list[list.indexOf(name) + 1]
  if (value('appendonly') === 'yes' && value('appendfsync') === 'always') {
    return []
  }
  return [
    'Redis may forget jobs when it ends by itself: start it with --appendonly yes --appendfsync always (a run that was forgotten is submitted again, and keeps its shards)',
  ]
}

/** The options by which commands name a queue. */

import { type Command, Option } from 'commander'
import type { Place } from '../../cluster/connection.js'

export function addPlaceOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'where Redis is; rediss:// with TLS')
        .env('QKSPACE_REDIS')
        .default('redis://127.0.0.1:6379'),
    )
    .option('--queue <name>', 'name of the queue in it', 'qkspace')
}

export type PlaceOptions = Place

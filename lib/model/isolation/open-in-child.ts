/**
 * Opens a model in a child process, so that a crash ends only the child. On some files onnxruntime aborts, reads
 * beyond its memory or fills all memory.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { QkError } from '../../errors.js'
import type { OpenHereOptions } from '../open-here.js'
import type { ChildAnswer, ChildRequest } from './open-child.js'

const PROGRAM = fileURLToPath(new URL('./open-child.js', import.meta.url))

/** Number of characters that are kept of the output before a crash. */
const LAST_WORDS = 2000

/** Resolves if the file opens. Errors: those of opening; ERR_INFERENCE if the child crashed. */
export async function openInChild(path: string, { threads, sizes }: OpenHereOptions): Promise<void> {
  const child = fork(PROGRAM, [], {
    // Command-line flags are meant for the caller. With --input-type, for example, the child could not run a file.
    execArgv: [],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  child.send({ path, options: { threads, sizes } } satisfies ChildRequest)
  const { answer, ...end } = await outcome(child)
  if (!answer) {
    throw crashed(path, end)
  }
  if (!answer.ok) {
    throw new QkError(answer.code, answer.message, { hint: answer.hint })
  }
}

interface Outcome {
  answer?: ChildAnswer
  code: number | null
  signal: NodeJS.Signals | null
  words: string
}

function outcome(child: ChildProcess): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let answer: ChildAnswer | undefined
    let words = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-LAST_WORDS)
    })
    child.on('message', (message: ChildAnswer) => {
      answer = message
    })
    child.on('error', (error) => {
      reject(
        new QkError('ERR_INFERENCE', `no process could be started to try the model in: ${error.message}`, {
          hint: 'Open it without isolation, if it is a file that you trust.',
          cause: error,
        }),
      )
    })
    child.on('close', (code, signal) => resolve({ answer, code, signal, words }))
  })
}

const MEANINGS: Partial<Record<NodeJS.Signals, string>> = {
  SIGABRT: 'onnxruntime aborted',
  SIGSEGV: 'a segmentation fault',
  SIGBUS: 'a bus error',
  SIGILL: 'an illegal instruction',
  SIGFPE: 'an arithmetic fault',
  SIGKILL: 'killed, as where memory runs out',
}

function crashed(path: string, { code, signal, words }: Outcome): QkError {
  const how = signal ? `${signal}${MEANINGS[signal] ? `: ${MEANINGS[signal]}` : ''}` : `exit status ${code}`
  const last = words.trim().split('\n').at(-1)
  return new QkError(
    'ERR_INFERENCE',
    `${path}: the process that tried the model crashed (${how})${last ? `; its last words: ${last}` : ''}`,
    { hint: 'Check the file with onnx.checker.check_model(..., full_check=True), or export it again.' },
  )
}

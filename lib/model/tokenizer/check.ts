/**
 * Checks a `tokenizer.json` for faults that make the native `tokenizers` package end the process, on loading or on
 * encoding. The package reports all other faults itself.
 */

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { QkError } from '../../errors.js'

/** The parts of a `tokenizer.json` that are checked here. */
export interface TokenizerJson {
  normalizer?: unknown
  pre_tokenizer?: unknown
  post_processor?: unknown
  added_tokens?: unknown
  model?: unknown
}

type Fields = Record<string, unknown>

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/** Errors: ERR_TOKENIZER, with the file, the part of it, and what is wrong. */
export async function checkTokenizer(file: string, json: TokenizerJson): Promise<void> {
  const refuse = (part: string, message: string, hint?: string): never => {
    throw new QkError('ERR_TOKENIZER', `${file}: its ${part} ${message}`, { hint })
  }
  const { model } = json
  if (isObject(model)) {
    checkMerges(model, refuse)
  }
  // The library identifies a step of unknown type by its fields, and so do these checks.
  const normalizers = [...steps(json.normalizer, 'normalizers')]
  for (const { prepend, pattern } of normalizers) {
    if (prepend === '') {
      refuse('normalizer (Prepend)', 'prepends an empty text', 'Leave the normalizer out.')
    }
    if (isObject(pattern) && pattern.String === '') {
      refuse('normalizer (Replace)', 'replaces an empty text', 'Give it a pattern, or leave it out.')
    }
  }
  for (const { length } of steps(json.pre_tokenizer, 'pretokenizers')) {
    if (length === 0) {
      refuse('pre_tokenizer (FixedLength)', 'has the length 0', 'A length is at least 1.')
    }
  }
  for (const processor of steps(json.post_processor, 'processors')) {
    checkTemplate(processor, refuse)
  }
  if (
    normalizers.some(({ type, precompiled_charsmap: table }) => type === 'Precompiled' || table !== undefined)
  ) {
    const fault = await tryNormalizer(json.normalizer)
    if (fault !== undefined) {
      refuse('normalizer (Precompiled)', `cannot be used: ${fault}`, 'The file is damaged; fetch it again.')
    }
  }
}

type Refuse = (part: string, message: string, hint?: string) => never

/** A step, or the steps of a `Sequence`; sequences may be nested. */
function* steps(step: unknown, inner: string): Generator<Fields> {
  if (!isObject(step)) {
    return
  }
  yield step
  for (const nested of list(step[inner])) {
    yield* steps(nested, inner)
  }
}

/** Checks a template: it may name only tokens that it defines, and a template of one text may name only that text. */
function checkTemplate({ single, pair, special_tokens: defined }: Fields, refuse: Refuse): void {
  const known = isObject(defined) ? defined : {}
  for (const [name, template] of Object.entries({ single, pair })) {
    for (const { kind, id } of list(template).map(pieceOf)) {
      if (kind === 'SpecialToken' && typeof id === 'string' && !Object.hasOwn(known, id)) {
        const names = Object.keys(known).map((token) => JSON.stringify(token))
        refuse(
          'post_processor (TemplateProcessing)',
          `names the token ${JSON.stringify(id)} in "${name}", which its "special_tokens" do not have`,
          names.length > 0 ? `They have ${names.join(', ')}.` : 'They are empty.',
        )
      }
      if (name === 'single' && kind === 'Sequence' && id === 'B') {
        refuse(
          'post_processor (TemplateProcessing)',
          'uses the second text "B" in "single", which has one text',
        )
      }
    }
  }
}

/** A piece of a template, which is written `{ kind: { id } }`. */
function pieceOf(piece: unknown): { kind?: string; id?: unknown } {
  const [kind, value] = isObject(piece) ? (Object.entries(piece)[0] ?? []) : []
  return { kind, id: isObject(value) ? value.id : undefined }
}

/**
 * Checks merges. The library cuts the prefix of inner pieces off the second half of a merge without a check, and has
 * space for results as long as the longest token: what a merge gives must be a token.
 */
function checkMerges(model: Fields, refuse: Refuse): void {
  const { type, merges, vocab, continuing_subword_prefix: given } = model
  if (type !== 'BPE' && type !== undefined) {
    return
  }
  const prefix = typeof given === 'string' ? given : ''
  const tokens = isObject(vocab) ? vocab : {}
  list(merges).forEach((merge, i) => {
    const [first, second] = typeof merge === 'string' ? merge.split(' ') : list(merge)
    if (typeof first !== 'string' || typeof second !== 'string') {
      return
    }
    const named = `merge ${i} (${JSON.stringify(merge)})`
    if (!second.startsWith(prefix)) {
      const bytes = Buffer.byteLength(prefix)
      const written = Buffer.from(second)
      const continues = (written[bytes] & 0xc0) === 0x80
      if (written.length < bytes || continues) {
        refuse(
          'model (BPE)',
          `has the continuing_subword_prefix ${JSON.stringify(prefix)}, with which ${named} does not go on`,
        )
      }
      return
    }
    const merged = first + second.slice(prefix.length)
    if (!Object.hasOwn(tokens, merged)) {
      refuse('model (BPE)', `gives ${JSON.stringify(merged)} by ${named}, which is not in its vocabulary`)
    }
  })
}

const TRIAL = fileURLToPath(new URL('./trial.js', import.meta.url))

/** Time limit of the trial, for a table with a cycle. */
const TRIAL_MS = 10_000

/**
 * Tries a normalizer, since a precompiled table with references beyond its end only fails in use.
 *
 * Normalises texts in a child process, with a model of one word in place of the tokenizer's. This takes about a tenth
 * of a second, whatever the size of the vocabulary. Returns what went wrong, if anything did.
 */
function tryNormalizer(normalizer: unknown): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [TRIAL], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, RUST_BACKTRACE: '0', NODE_OPTIONS: '' },
    })
    let said = ''
    let late = false
    const timer = setTimeout(() => {
      late = true
      child.kill('SIGKILL')
    }, TRIAL_MS)
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    // If no process can be started, the tokenizer is accepted as it is.
    child.on('error', () => {
      clearTimeout(timer)
      resolve(undefined)
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      if (late) {
        resolve(`it takes more than ${TRIAL_MS / 1000} s over a short text`)
      } else if (code === 0 || code === 1) {
        // Exit status 1 is an ordinary error, not a panic. Loading the tokenizer will report it in more detail.
        resolve(undefined)
      } else {
        resolve(/panicked at [^\n]*\n([^\n]*)/.exec(said)?.[1] ?? said.trim().slice(0, 300))
      }
    })
    // A child that has already ended closes the pipe. Its exit status shows why.
    child.stdin.on('error', () => {})
    child.stdin.end(JSON.stringify(normalizer))
  })
}

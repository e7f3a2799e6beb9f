/**
 * A client of conflux for browsers and Node: one ES module, no dependencies.
 *
 *     import conflux from 'http://127.0.0.1:8001/client.js'      // or a copy of this file
 *     const words = conflux()                                     // where the module came from, or addresses
 *     const unsubscribe = words.subscribe((event) => console.log(event.index, event.action))
 *     await words.perform('append', ['foo'])                      // the action; null when there was nothing to do
 *     console.log(await words.getState())
 *     await words.close()
 *
 * It has the names of the conflux of 2016. What differs: the state is on the other side of a network, so `getState` and
 * `getProvisionalState` give promises. Every function that gives a promise also takes a callback `(error, value)`.
 */

/** How long a perform is tried unless told otherwise: the nodes' own default. */
const TIMEOUT_MS = 10_000
/** How long an answer may take beyond the time that the node was given. */
const MARGIN_MS = 5_000
/** The longest time that can be asked for: timers have no longer one. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1 - MARGIN_MS
/** The least that one of several addresses is given, where there is so much. */
const SHARE_MS_MIN = 1_000
/** How long the head of an answer may take where a subscription begins. */
const HEAD_MS = 10_000
/**
 * How long one perform is under way, all its tries together: nodes remember a request id for 300 s after it was decided,
 * and a try that is decided later than that would take effect again.
 */
const UNDER_WAY_MS = 240_000
/** How long a subscription may hear nothing: nodes send a comment every 15 s unless told otherwise. */
const SILENCE_MS = 60_000
const BACKOFF_MS_MIN = 100
const BACKOFF_MS_MAX = 5_000

/** Codes that tell what became of a call, wherever else it was sent. */
const FINAL = new Set(['rejected', 'failed', 'conflict', 'forgotten'])
/** Codes of a node that cannot just now: another one may, or the same one later. */
const PASSING = new Set([
  'busy', 'closed', 'never_proposed', 'not_readable', 'not_ready', 'not_visible', 'too_slow', 'unknown',
])

/**
 * Why something was not done.
 *
 * `code` is the word for programs: `rejected`, `failed`, `unknown_method`, `unknown` and so on, as `/openapi.json` lists
 * them; and of the client itself `unreachable` (nothing was asked of any node) and `closed`. Where there are such:
 * `rejection` and `index` (rejected), `requestId` (unknown, conflict, not_visible), `near` and `methods`
 * (unknown_method), `status` of the answer.
 */
export class ConfluxError extends Error {
  constructor(message, code, more = {}) {
    super(message)
    this.name = 'ConfluxError'
    this.code = code
    Object.assign(this, more)
  }
}

/**
 * A client of one cluster.
 *
 * @param {string | URL | (string | URL)[]} [addresses] of one or more nodes, which are tried in turn; where the module
 *   came from, unless told.
 * @param {object} [options]
 * @param {string} [options.token] a bearer token.
 * @param {number} [options.timeout] how long a perform is tried, and a read, in milliseconds: 1 to 2147478647, 10,000 unless
 *   told.
 * @param {(error: ConfluxError) => void} [options.onError] is told when a subscription is refused for good.
 */
export default function conflux(addresses, options) {
  return new Client(addresses, options)
}

class Client {
  #bases
  #turn = 0
  #options
  #closed = false
  /** What is under way, to be waited for at the end. */
  #pending = new Set()
  /** The feed that all plain subscriptions share, while there is one. */
  #feed = null
  #feeds = new Set()
  /** The newest place that was seen: states never go back from there, whichever node is asked. A history that was begun
   * anew has its own places. */
  #seen = 0

  constructor(addresses, options = {}) {
    const given = addresses === undefined ? [new URL('.', import.meta.url)] : [addresses].flat()
    if (given.length === 0) throw new TypeError('conflux: there is no address')
    this.#bases = given.map(base)
    const timeout = checkedTimeout(options.timeout ?? TIMEOUT_MS)
    this.#options = { onError: (error) => console.error(error), ...options, timeout }
  }

  /**
   * Performs a method: resolves to the action when it is committed and visible on the node that was asked, or to null
   * when there was nothing to do. It takes effect once, however often the network makes it be sent.
   *
   * @param {string} method
   * @param {any[]} [args]
   * @param {number} [timeout] in milliseconds
   * @param {(error: ConfluxError | null, action?: any) => void} [callback]
   */
  perform(method, args = [], timeout, callback) {
    if (typeof timeout === 'function') [timeout, callback] = [undefined, timeout]
    return this.#track(this.#perform(method, args, timeout ?? this.#options.timeout), callback)
  }

  /**
   * Calls back with every action that is committed from now on, in order and without holes: `{ type: 'change', index,
   * action, origin, time }`. After too long an absence, once `{ type: 'reset', index, state }`: start again from there.
   * An action that is performed here afterwards is heard.
   *
   * @param {(event: object) => void} callback
   * @param {{ from?: number | string }} [options] `from`: the index of the last action that is known, instead of now.
   * @returns {() => void} unsubscribes
   */
  subscribe(callback, { from } = {}) {
    if (typeof callback !== 'function') throw new TypeError('conflux: subscribe takes a function')
    if (this.#closed) throw closed()
    const shared = from === undefined
    let feed = shared ? this.#feed : null
    if (!feed) {
      feed = new Feed({
        lastId: shared ? '' : String(from),
        present: (signal) => this.#present(signal),
        open: (lastId, signal) => this.#open(lastId, signal),
        silent: (from) => this.#advance(from),
        heard: (index, anew) => (anew ? (this.#seen = index) : this.#see(index)),
        refused: (error) => this.#options.onError(error),
        ended: () => {
          this.#feeds.delete(feed)
          if (this.#feed === feed) this.#feed = null
        },
      })
      this.#feeds.add(feed)
      if (shared) this.#feed = feed
    }
    // One that subscribes twice is called twice, and unsubscribes each by itself.
    const subscriber = { callback }
    feed.subscribers.add(subscriber)
    return () => feed.remove(subscriber)
  }

  /** The committed state. Never goes back, and has what this client has performed. */
  getState(callback) {
    return this.#track(this.#state(), callback)
  }

  /** The state with what is not committed yet on top; it may never come to be. */
  getProvisionalState(callback) {
    return this.#track(this.#read('provisional').then(({ state }) => state), callback)
  }

  /** Ends the subscriptions, and waits for what is under way. */
  close(callback) {
    this.#closed = true
    for (const feed of this.#feeds) feed.end()
    return settled(Promise.allSettled([...this.#pending]).then(() => undefined), callback)
  }

  #track(promise, callback) {
    const forget = () => this.#pending.delete(promise)
    this.#pending.add(promise)
    promise.then(forget, forget)
    return settled(promise, callback)
  }

  #see(index) {
    this.#seen = Math.max(this.#seen, index)
  }

  /** The next address in turn. */
  #advance(from) {
    if (this.#bases[this.#turn] === from) this.#turn = (this.#turn + 1) % this.#bases.length
  }

  async #perform(method, args, timeout) {
    if (this.#closed) throw closed()
    if (!Array.isArray(args)) throw new TypeError('conflux: the arguments of a perform are an array')
    checkedTimeout(timeout)
    const call = { method, args, request_id: randomId() }
    // What cannot be written must not be tried again and again.
    JSON.stringify(call)
    const deadline = Date.now() + timeout
    await this.#begun(timeout)
    const answer = await this.#retry(deadline, call.request_id, (left) => ({
      path: 'perform',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...call, timeout_ms: Math.max(1, Math.floor(left)) }),
    }))
    this.#see(answer.index)
    return answer.action
  }

  /** Waits until it is known where the subscriptions begin, so that they hear what is performed now. */
  async #begun(timeout) {
    if (this.#feeds.size === 0) return
    const late = new AbortController()
    await Promise.race([Promise.all([...this.#feeds].map((feed) => feed.begun)), sleep(timeout, late.signal)])
    late.abort()
  }

  async #state() {
    let read = await this.#read('state')
    // The node is another one than before, and behind it.
    if (read.index < this.#seen) read = await this.#read('state?linearizable=true')
    this.#see(read.index)
    return read.state
  }

  async #read(path) {
    if (this.#closed) throw closed()
    return this.#retry(Date.now() + this.#options.timeout, undefined, () => ({ path, method: 'GET', headers: {} }))
  }

  /**
   * Asks until there is an answer that counts. `requestId`: it matters whether a request without an answer arrived.
   */
  async #retry(deadline, requestId, describe) {
    const backoff = new Backoff()
    let arrived = false
    let last
    // By then everything that is under way is decided.
    let end = requestId ? Math.min(deadline, Date.now() + UNDER_WAY_MS) : deadline
    for (let tries = 1; ; tries += 1) {
      const left = Math.max(1, end - Date.now())
      const from = this.#bases[this.#turn]
      // Where there are several addresses, none is given all of the time: it may hang. And a node that is told less than it
      // is given still says what became of the call.
      const several = this.#bases.length > 1
      const share = Math.min(left, Math.max(SHARE_MS_MIN, left / this.#bases.length))
      const { path, ...init } = describe(several ? share * 0.8 : left)
      const late = new Late(several ? share : left + MARGIN_MS)
      try {
        const response = await fetch(new URL(path, from), this.#withToken({ ...init, signal: late.signal }))
        // It is there, and what it says may be long.
        late.allow(left + MARGIN_MS)
        return await answerOf(response)
      } catch (error) {
        const known = error instanceof ConfluxError
        // A success that cannot be read is one, and what stands in front of a node may have passed the call on.
        const spoiled = error.code === 'bad_answer' && (error.status < 300 || error.status >= 500)
        const passing = !known || spoiled || PASSING.has(error.code)
        if (!passing && (!arrived || FINAL.has(error.code))) throw error
        arrived ||= known ? error.code === 'unknown' || error.code === 'bad_answer' : !neverLeft(error)
        last = error
        this.#advance(from)
      } finally {
        late.end()
      }
      // Every address has its turn at once; then there is a pause.
      const pause = tries % this.#bases.length === 0 ? backoff.next() : 0
      if (Date.now() + pause >= end) {
        // Where nothing has arrived, or all that did is known not to have been proposed, it may begin again.
        if (arrived || Date.now() + pause >= deadline) break
        end = Math.min(deadline, Date.now() + pause + UNDER_WAY_MS)
      }
      if (pause > 0) await sleep(pause)
    }
    if (last instanceof ConfluxError && (last.code === 'not_visible' || !arrived || !requestId)) throw last
    if (!arrived || !requestId) {
      throw new ConfluxError(`no node can be reached: ${reason(last)}`, 'unreachable', { cause: last })
    }
    const message = `no answer came (${reason(last)}): it may have taken effect, or may still`
    throw new ConfluxError(message, 'unknown', { requestId, cause: last })
  }

  #withToken(init) {
    const { token } = this.#options
    return token === undefined ? init : { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }
  }

  /** The id of the present place. */
  async #present(signal) {
    const { cluster, generation, index } = await answerOf(await this.#askOnce('status', { signal }))
    // A node that waits for its cluster knows no history yet.
    return cluster === null ? String(index) : `${cluster}.${generation}-${index}`
  }

  /** Opens a stream of events, and says where. */
  async #open(lastId, signal) {
    const headers = { accept: 'text/event-stream', 'last-event-id': lastId }
    const from = this.#bases[this.#turn]
    const response = await this.#askOnce('subscribe', { headers, signal, cache: 'no-store' })
    if (!response.ok) await answerOf(response)
    return { reader: response.body.getReader(), from }
  }

  /** Asks at the address that is in turn; the next one is when this one cannot answer, or not in time. */
  async #askOnce(path, { signal, ...init }) {
    const from = this.#bases[this.#turn]
    const late = new Late(HEAD_MS)
    try {
      const either = anyOf(signal, late.signal)
      const response = await fetch(new URL(path, from), this.#withToken({ ...init, signal: either }))
      if (response.status >= 500) this.#advance(from)
      return response
    } catch (error) {
      this.#advance(from)
      throw error
    } finally {
      late.end()
    }
  }
}

/** One stream of events, opened again whenever it breaks. */
class Feed {
  subscribers = new Set()
  /** Settled once it is known from where on events are heard. */
  begun
  #lastId
  #wires
  #abort = new AbortController()
  #begin

  constructor({ lastId, ...wires }) {
    this.#lastId = lastId
    this.#wires = wires
    this.begun = new Promise((resolve) => (this.#begin = resolve))
    if (lastId !== '') this.#begin()
    this.#run()
  }

  remove(subscriber) {
    if (this.subscribers.delete(subscriber) && this.subscribers.size === 0) this.end()
  }

  end() {
    this.subscribers.clear()
    this.#wires.ended()
    this.#abort.abort()
    this.#begin()
  }

  async #run() {
    const { signal } = this.#abort
    let backoff = new Backoff()
    while (!signal.aborted) {
      try {
        if (this.#lastId === '') {
          this.#lastId = await this.#wires.present(signal)
          this.#begin()
        }
        await this.#follow(() => (backoff = new Backoff()))
      } catch (error) {
        if (signal.aborted) return
        if (error instanceof ConfluxError && !PASSING.has(error.code) && !(error.status >= 500)) {
          this.end()
          this.#wires.refused(error)
          return
        }
      }
      if (!signal.aborted) await sleep(backoff.next(), signal)
    }
  }

  /** Reads one stream to its end. */
  async #follow(begun) {
    const { signal } = this.#abort
    const silence = new Late(SILENCE_MS)
    let from
    try {
      const opened = await this.#wires.open(this.#lastId, anyOf(signal, silence.signal))
      const { reader } = opened
      from = opened.from
      const decoder = new TextDecoder()
      // What has come of the next frame: a list, as adding to a long text again and again would be slow.
      let parts = []
      for (;;) {
        const { done, value } = await reader.read()
        // What was not told to its end was not told.
        if (done) return
        silence.allow(SILENCE_MS)
        const text = decoder.decode(value, { stream: true })
        // An end of a frame may be cut in two.
        if (!text.includes('\n')) {
          parts.push(text)
          continue
        }
        const frames = (parts.join('') + text).split('\n\n')
        parts = [frames.pop()]
        for (const frame of frames) this.#take(frame, begun)
        if (signal.aborted) return
      }
    } catch (error) {
      // A node that holds the connection and says nothing would hold the next one, too.
      if (from && silence.signal.aborted && !signal.aborted) this.#wires.silent(from)
      throw error
    } finally {
      silence.cut()
    }
  }

  #take(frame, begun) {
    let id
    let type
    let data = ''
    for (const line of frame.split('\n')) {
      const colon = line.indexOf(':')
      const name = line.slice(0, colon)
      const text = line.slice(colon + 1).replace(/^ /, '')
      if (name === 'id') id = text
      else if (name === 'event') type = text
      else if (name === 'data') data += text
    }
    if (id === undefined) return
    begun()
    const anew = historyOf(this.#lastId) !== '' && historyOf(this.#lastId) !== historyOf(id)
    this.#lastId = id
    if (data === '') return
    const { time_ms: time, ...told } = JSON.parse(data)
    const event = { type, ...told, ...(time === undefined ? {} : { time: new Date(time) }) }
    this.#wires.heard(event.index, anew)
    for (const subscriber of [...this.subscribers]) {
      // One that was unsubscribed by another just now is not called.
      if (!this.subscribers.has(subscriber)) continue
      try {
        subscriber.callback(event)
      } catch (error) {
        // A subscriber that throws is its own affair: the others hear the event, and the program hears of the error.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}

/** Waits longer each time, and each time a little differently, so that many clients do not come at once. */
class Backoff {
  #next = BACKOFF_MS_MIN

  next() {
    const longest = this.#next
    this.#next = Math.min(longest * 2, BACKOFF_MS_MAX)
    return longest * (0.5 + Math.random() / 2)
  }
}

/** Aborts what has not come in time. */
class Late {
  #controller = new AbortController()
  #timer

  constructor(ms) {
    this.allow(ms)
  }

  get signal() {
    return this.#controller.signal
  }

  /** Gives it so long from now on. */
  allow(ms) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#controller.abort(new Error('it did not answer in time')), ms)
  }

  end() {
    clearTimeout(this.#timer)
  }

  /** Ends it, and what may still be coming. */
  cut() {
    this.end()
    this.#controller.abort()
  }
}

/** A time that timers have. */
function checkedTimeout(timeout) {
  if (typeof timeout === 'number' && timeout >= 1 && timeout <= TIMEOUT_MS_MAX) return timeout
  const came = typeof timeout === 'number' ? timeout : `a ${typeof timeout}`
  throw new TypeError(`conflux: a timeout is a number of milliseconds from 1 to ${TIMEOUT_MS_MAX}, but ${came} came`)
}

/** Which history the id of an event is of: all before its place. */
function historyOf(id) {
  return id.slice(0, Math.max(0, id.lastIndexOf('-')))
}

/** An address that paths are added to. */
function base(address) {
  const text = String(address)
  const url = new URL(text.endsWith('/') ? text : `${text}/`)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError(`conflux: ${text} is no address of a node: it begins with http:// or https://`)
  }
  return url
}

/** The value of an answer; throws what is no success. */
async function answerOf(response) {
  let value
  try {
    value = await response.json()
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  if (response.status === 200 && value !== undefined) return value
  if (response.status === 202 && value?.code === 'not_visible') {
    const message = 'it is committed, and the node that was asked has not come so far yet'
    throw new ConfluxError(message, 'not_visible', { index: value.index, requestId: value.request_id, status: 202 })
  }
  const { code, message, request_id: requestId, ...more } = value?.error ?? {}
  const { status } = response
  if (typeof code !== 'string') {
    throw new ConfluxError(`status ${status} came with a body that is no answer of conflux`, 'bad_answer', { status })
  }
  throw new ConfluxError(message, code, { ...more, ...(requestId === undefined ? {} : { requestId }), status })
}

/** Whether a request certainly did not arrive. A browser does not tell. */
function neverLeft(error) {
  const code = error?.cause?.code ?? error?.cause?.errors?.[0]?.code
  return ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code)
}

function reason(error) {
  return error?.cause?.message || error?.cause?.code || error?.message || String(error)
}

function closed() {
  return new ConfluxError('the client is closed', 'closed')
}

/** 128 bits that nobody else draws. `randomUUID` is not there on pages without https. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const woken = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', woken)
      resolve()
    }
    const timer = setTimeout(woken, ms)
    signal?.addEventListener('abort', woken)
  })
}

function anyOf(...signals) {
  if (AbortSignal.any) return AbortSignal.any(signals)
  const either = new AbortController()
  for (const signal of signals) {
    if (signal.aborted) either.abort(signal.reason)
    signal.addEventListener('abort', () => either.abort(signal.reason), { once: true })
  }
  return either.signal
}

/** A promise, and the callback of those who want one. */
function settled(promise, callback) {
  if (callback === undefined) return promise
  const call = (...values) => queueMicrotask(() => callback(...values))
  promise.then((value) => call(null, value), (error) => call(error))
}

// Run by the Rust test `javascript::in_node`, which starts a cluster and says where it is.
//   CONFLUX_AT     addresses of the nodes of one cluster, with commas
//   CONFLUX_TOKEN  the address of a server that wants a token, a comma, and a token for reading
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { after, test } from 'node:test'
import conflux, { ConfluxError } from '../../client.js'

const nodes = process.env.CONFLUX_AT.split(',')
const clients = []

function connect(addresses = nodes, options) {
  const client = conflux(addresses, options)
  clients.push(client)
  return client
}

const proxies = []

// What a failed test has left open would keep the process from ending.
after(() => {
  proxies.forEach((proxy) => proxy.close())
  return Promise.all(clients.map((client) => client.close()))
})

/** What a subscriber has heard, and a way to wait for more. */
class Heard {
  events = []
  #waiting = []

  hear = (event) => {
    this.events.push(event)
    this.#waiting = this.#waiting.filter((look) => !look())
  }

  /** Waits for the first event that fits. */
  find(fits) {
    return new Promise((resolve) => {
      const look = () => {
        const event = this.events.find(fits)
        if (event) resolve(event)
        return event !== undefined
      }
      if (!look()) this.#waiting.push(look)
    })
  }

  words() {
    return this.events.map((event) => event.action.appended)
  }
}

function assertContiguous(events) {
  for (let nth = 1; nth < events.length; nth += 1) assert.equal(events[nth].index, events[nth - 1].index + 1)
}

/**
 * Something between the client and a node. `mood(request, nth)` says what becomes of each request: `pass`, `lose` (it
 * arrives, its answer does not), `refuse` (it does not arrive), `hang` (nothing comes of it), `mute` (a stream opens, and
 * nothing comes of it), or a status with a body that is not conflux's.
 */
async function proxy(target, mood) {
  let nth = 0
  const seen = []
  const server = http.createServer(async (request, response) => {
    const body = []
    for await (const chunk of request) body.push(chunk)
    const text = Buffer.concat(body).toString()
    seen.push({ url: request.url, body: text, lastEventId: request.headers['last-event-id'] })
    const what = mood(request, nth++)
    if (what === 'refuse') return request.socket.destroy()
    if (what === 'hang') return
    if (what === 'mute') return response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    if (typeof what === 'number') return response.writeHead(what, { 'content-type': 'text/html' }).end('<h1>Sorry</h1>')
    const { method, url, headers } = request
    const passed = http.request(new URL(url, target), { method, headers: { ...headers, host: new URL(target).host } })
    request.socket.on('close', () => passed.destroy())
    passed.on('error', () => request.socket.destroy())
    passed.on('response', (answer) => {
      if (what === 'lose') {
        answer.resume().on('end', () => request.socket.destroy())
        return
      }
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    passed.end(text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = new Set()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  const url = `http://127.0.0.1:${server.address().port}`
  const cut = () => sockets.forEach((socket) => socket.destroy())
  const made = { url, seen, cut, close: () => (server.close(), cut()) }
  proxies.push(made)
  return made
}

/** An address at which nobody listens. */
async function nobody() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return `http://127.0.0.1:${port}`
}

test('perform gives the action, by promise and by callback', async () => {
  const client = connect()
  assert.deepEqual(await client.perform('append', ['foo']), { appended: 'foo' })
  assert.deepEqual(await client.perform('append', ['bar'], 5000), { appended: 'bar' })
  const called = await new Promise((resolve) => {
    const nothing = client.perform('append', ['baz'], (...told) => resolve(told))
    assert.equal(nothing, undefined)
  })
  assert.deepEqual(called, [null, { appended: 'baz' }])
  const timed = await new Promise((resolve) => client.perform('append', ['qux'], 5000, (...told) => resolve(told)))
  assert.deepEqual(timed, [null, { appended: 'qux' }])
  const state = await client.getState()
  assert.deepEqual(state.slice(-4), ['foo', 'bar', 'baz', 'qux'])
  assert.deepEqual((await client.getProvisionalState()).slice(-4), ['foo', 'bar', 'baz', 'qux'])
  assert.deepEqual(await new Promise((resolve) => client.getState((error, value) => resolve(value))), state)
})

test('nothing to do is null', async () => {
  const client = connect()
  await client.perform('clear')
  assert.equal(await client.perform('clear', []), null)
})

test('a rejection is an error with its message, its data and its place', async () => {
  const client = connect()
  const error = await client.perform('append', ['x'.repeat(81)]).catch((error) => error)
  assert.ok(error instanceof ConfluxError && error instanceof Error)
  assert.equal(error.message, 'too long')
  assert.equal(error.code, 'rejected')
  assert.deepEqual(error.rejection, { message: 'too long' })
  assert.equal(typeof error.index, 'number')
  const called = await new Promise((resolve) => client.perform('append', ['x'.repeat(81)], (...told) => resolve(told)))
  assert.equal(called.length, 1)
  assert.equal(called[0].message, 'too long')
})

test('what cannot be performed says why', async () => {
  const client = connect()
  await assert.rejects(client.perform('apend', ['x']), { code: 'unknown_method', near: ['append'] })
  await assert.rejects(client.perform('append', [1]), { code: 'bad_arguments' })
  await assert.rejects(client.perform('crash'), { code: 'failed' })
  await assert.rejects(client.perform('append', 'foo'), TypeError)
  await assert.rejects(client.perform('append', ['foo'], 0), TypeError)
  await assert.rejects(client.perform('append', [1n]), TypeError)
  // What no timer can hold would be tried again and again, or be over at once.
  for (const timeout of [Infinity, NaN, 2 ** 31, -1, '5000']) {
    await assert.rejects(client.perform('append', ['foo'], timeout), TypeError)
    assert.throws(() => conflux(nodes, { timeout }), { name: 'TypeError', message: /from 1 to 2147478647/ })
  }
  assert.throws(() => client.subscribe(), TypeError)
  assert.throws(() => conflux([]), TypeError)
  assert.throws(() => conflux('ftp://x'), TypeError)
})

test('a subscriber hears every action in order, from then on, until it unsubscribes', async () => {
  const client = connect()
  const [first, second] = [new Heard(), new Heard()]
  const unsubscribe = client.subscribe(first.hear)
  client.subscribe(second.hear)
  const words = Array.from({ length: 50 }, (_, n) => `heard ${n}`)
  // At once: it is heard, although the stream cannot be open yet.
  for (const word of words) await client.perform('append', [word])
  await Promise.all([first, second].map((heard) => heard.find((event) => event.action?.appended === 'heard 49')))
  assert.deepEqual(first.words(), words)
  assert.deepEqual(second.words(), words)
  assertContiguous(first.events)
  const [event] = first.events
  assert.equal(event.type, 'change')
  assert.ok(event.time instanceof Date && typeof event.origin === 'string')
  unsubscribe()
  unsubscribe()
  await client.perform('append', ['not heard'])
  await second.find((event) => event.action.appended === 'not heard')
  assert.equal(first.events.length, 50)
})

test('a subscriber that throws does not keep the others from hearing', async () => {
  const client = connect()
  const heard = new Heard()
  const thrown = once(process, 'uncaughtException')
  // The test runner has its own ideas of uncaught errors.
  const listeners = process.listeners('uncaughtException').filter((listener) => !listener.name.startsWith('bound'))
  const removed = listeners.slice(0, -1)
  removed.forEach((listener) => process.removeListener('uncaughtException', listener))
  client.subscribe(() => {
    throw new Error('its own affair')
  })
  client.subscribe(heard.hear)
  await client.perform('append', ['said'])
  await heard.find((event) => event.action.appended === 'said')
  assert.equal((await thrown)[0].message, 'its own affair')
  removed.forEach((listener) => process.on('uncaughtException', listener))
  await client.close()
})

test('a subscription may begin in the past', async () => {
  const client = connect()
  const heard = new Heard()
  client.subscribe(heard.hear, { from: 0 })
  const first = await heard.find(() => true)
  assert.equal(first.index, 1)
})

test('a place in another history is a reset', async () => {
  const client = connect()
  const heard = new Heard()
  client.subscribe(heard.hear, { from: '99.0-1' })
  const reset = await heard.find(() => true)
  assert.equal(reset.type, 'reset')
  assert.deepEqual(reset.state, await client.getState())
  await client.perform('append', ['after the reset'])
  const { index } = await heard.find((event) => event.action?.appended === 'after the reset')
  assert.ok(index > reset.index)
})

test('a broken stream is taken up where it broke', async () => {
  const between = await proxy(nodes[0], () => 'pass')
  const client = connect(between.url)
  const direct = connect(nodes[0])
  const heard = new Heard()
  client.subscribe(heard.hear)
  await client.perform('append', ['before'])
  const before = await heard.find((event) => event.action.appended === 'before')
  for (let round = 0; round < 3; round += 1) {
    between.cut()
    // While nobody listens.
    for (let n = 0; n < 5; n += 1) await direct.perform('append', [`${round} ${n}`])
    await heard.find((event) => event.action.appended === `${round} 4`)
  }
  assert.deepEqual(heard.words().length, 16)
  assertContiguous(heard.events)
  const resumed = between.seen.filter(({ url }) => url === '/subscribe').map(({ lastEventId }) => lastEventId)
  assert.match(resumed[1], new RegExp(`^[0-9a-f]+\\.0-${before.index}$`))
  await client.close()
  between.close()
})

test('an address that hangs leaves time for the others', async () => {
  const hung = await proxy(nodes[0], () => 'hang')
  const begun = Date.now()
  const client = connect([hung.url, nodes[1]], { timeout: 4000 })
  assert.deepEqual(await client.perform('append', ['in time']), { appended: 'in time' })
  const reader = connect([hung.url, nodes[1]], { timeout: 4000 })
  assert.ok(Array.isArray(await reader.getState()))
  assert.ok(Date.now() - begun < 7000, `${Date.now() - begun} ms`)
  assert.equal(hung.seen.length, 2)
  assert.ok(JSON.parse(hung.seen[0].body).timeout_ms < 2000)
  hung.close()
})

test('a stream that falls silent goes on at the next node', async () => {
  const { setTimeout } = globalThis
  // A minute of silence is half a second here.
  globalThis.setTimeout = (work, ms, ...more) => setTimeout(work, ms === 60_000 ? 500 : ms, ...more)
  try {
    const mute = await proxy(nodes[0], (request) => (request.url === '/subscribe' ? 'mute' : 'pass'))
    const client = connect([mute.url, nodes[1]])
    const heard = new Heard()
    client.subscribe(heard.hear)
    await client.perform('append', ['after the silence'])
    await heard.find((event) => event.action.appended === 'after the silence')
    assert.equal(mute.seen.filter(({ url }) => url === '/subscribe').length, 1)
    await client.close()
    mute.close()
  } finally {
    globalThis.setTimeout = setTimeout
  }
})

test('a perform whose answer is lost takes effect once', async () => {
  const between = await proxy(nodes[0], (request, nth) => (nth < 2 ? 'lose' : 'pass'))
  const client = connect(between.url)
  const before = await connect(nodes[0]).getState()
  assert.deepEqual(await client.perform('append', ['once']), { appended: 'once' })
  assert.equal(between.seen.length, 3)
  const ids = new Set(between.seen.map(({ body }) => JSON.parse(body).request_id))
  assert.equal(ids.size, 1)
  assert.deepEqual(await connect(nodes[0]).getState(), [...before, 'once'])
  between.close()
})

test('a perform that does not get through is tried elsewhere', async () => {
  const gone = await nobody()
  const sorry = await proxy(nodes[0], () => 502)
  const lost = await proxy(nodes[1], () => 'lose')
  const client = connect([gone, sorry.url, lost.url, nodes[2]])
  assert.deepEqual(await client.perform('append', ['elsewhere']), { appended: 'elsewhere' })
  const state = await client.getState()
  assert.equal(state.filter((word) => word === 'elsewhere').length, 1)
  sorry.close()
  lost.close()
})

test('a success that cannot be read is none, and no failure either', async () => {
  const spoiled = await proxy(nodes[0], () => 200)
  const error = await connect(spoiled.url).perform('append', ['spoiled'], 300).catch((error) => error)
  assert.equal(error.code, 'unknown')
  assert.ok(spoiled.seen.length > 1)
  assert.deepEqual(await connect([spoiled.url, nodes[0]]).perform('append', ['spoiled']), { appended: 'spoiled' })
  spoiled.close()
})

test('a perform that stays unanswered is unknown, and can be asked for', async () => {
  const between = await proxy(nodes[0], () => 'lose')
  const client = connect(between.url)
  const error = await client.perform('append', ['who knows'], 300).catch((error) => error)
  assert.equal(error.code, 'unknown')
  const outcome = await fetch(`${nodes[1]}/outcome/${error.requestId}`)
  assert.deepEqual((await outcome.json()).action, { appended: 'who knows' })
  between.close()
})

test('a request id that may be forgotten is not sent again', async () => {
  const now = Date.now
  let later = 0
  Date.now = () => now() + later
  try {
    const between = await proxy(nodes[0], () => {
      // Six minutes go by before the answer is lost.
      later = 360_000
      return 'lose'
    })
    const client = connect(between.url)
    const error = await client.perform('append', ['forgotten'], 1_200_000).catch((error) => error)
    assert.equal(error.code, 'unknown')
    assert.equal(between.seen.length, 1)
    assert.ok(JSON.parse(between.seen[0].body).timeout_ms <= 240_000)
    between.close()
  } finally {
    Date.now = now
  }
})

test('when nobody listens, nothing was asked', async () => {
  const client = connect(await nobody())
  await assert.rejects(client.perform('append', ['x'], 300), { code: 'unreachable' })
  const quick = connect(await nobody(), { timeout: 300 })
  await assert.rejects(quick.getState(), { code: 'unreachable' })
})

test('the state does not go back when the node is another one', async () => {
  const between = await proxy(nodes[0], () => 'pass')
  const client = connect([between.url, nodes[1], nodes[2]])
  for (let n = 0; n < 20; n += 1) {
    await client.perform('append', [`forward ${n}`])
    // The next one has to ask another node, which may be behind.
    between.cut()
    if (n === 0) between.close()
    assert.equal((await client.getState()).at(-1), `forward ${n}`)
  }
})

test('a token is carried, and one that does not suffice is told', async () => {
  const [address, token] = process.env.CONFLUX_TOKEN.split(',')
  const reader = connect(address, { token })
  assert.ok(Array.isArray(await reader.getState()))
  await assert.rejects(reader.perform('append', ['x']), { code: 'forbidden', status: 403 })
  await assert.rejects(connect(address).getState(), { code: 'unauthorized', status: 401 })
  // A subscription that is refused ends, and says so once.
  const refused = new Promise((resolve) => connect(address, { onError: resolve }).subscribe(() => {}))
  assert.equal((await refused).code, 'unauthorized')
})

test('closing waits for what is under way, and ends the rest', async () => {
  const client = connect()
  const heard = new Heard()
  client.subscribe(heard.hear)
  const performed = client.perform('append', ['the last'])
  await client.close()
  assert.deepEqual(await performed, { appended: 'the last' })
  await assert.rejects(client.perform('append', ['x']), { code: 'closed' })
  await assert.rejects(client.getState(), { code: 'closed' })
  assert.throws(() => client.subscribe(() => {}), { code: 'closed' })
  await new Promise((resolve) => client.close(resolve))
})

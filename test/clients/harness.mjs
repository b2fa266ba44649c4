// What the suites share: editors, a network between them and their clients, tokens, waiting, and unmodified providers
// whose sockets remember what happened to them. hack/test/clients.sh names the program in EDITOR.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import * as encoding from 'lib0/encoding'
import WebSocket from 'ws'
import * as Y from 'yjs'

// Each provider listens for the end of the process.
process.setMaxListeners(0)

// What providers say to the console, such as that they were denied something.
export const warnings = []
console.warn = (...words) => warnings.push(words.join(' '))

const endings = []
const children = []
// atEnd lets something happen when the file's tests are over, the last first.
export const atEnd = end => endings.push(end)
after(async () => {
  try {
    for (const end of endings.reverse()) await end()
  } finally {
    children.forEach(child => child.kill('SIGKILL'))
  }
})

export const folder = mkdtempSync(join(tmpdir(), 'collab-clients-'))
atEnd(() => rmSync(folder, { recursive: true, force: true }))

// until waits for a condition, generously: other things may run on the machine. When that is in vain, saw tells what there
// was instead. It leaves most of the time to the clients, however long it takes to look.
export async function until (what, condition, saw = () => '', seconds = 120) {
  for (const start = Date.now(); ;) {
    const looked = performance.now()
    if (await condition()) return
    if (Date.now() - start > seconds * 1000) {
      throw new Error(`waited ${seconds} s in vain for ${what}; saw ${JSON.stringify(await saw())}`)
    }
    await new Promise(resolve => setTimeout(resolve, Math.max(5, 10 * (performance.now() - looked))))
  }
}

// same waits until all clients have the text, and returns it; without one, until all have the same.
export async function same (clients, text) {
  const texts = () => clients.map(client => client.text.toString())
  await until(`the text ${JSON.stringify(text)?.slice(0, 100) ?? 'of all to be the same'}`,
    () => texts().every(t => t === (text ?? texts()[0])), () => texts().map(t => t.slice(0, 100)))
  return texts()[0]
}

// converged waits until all clients have the edits of all.
export async function converged (...clients) {
  const vectors = () => clients.map(({ doc }) => Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc))))
  await until('all edits to be everywhere', () => vectors().every((v, i, all) => isDeepStrictEqual(v, all[0])), vectors)
  return same(clients)
}

let documents = 0
// newName is the name of a document that no other test uses.
export const newName = () => `acme/document-${++documents}`

// freePort is a port of the loopback that nobody listens on now.
export const freePort = () => new Promise(resolve => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

// run starts a process, which ends with the tests, and collects what it writes.
export function run (program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const started = { child, log: '', code: undefined }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => { started.log += data })
  started.ended = new Promise(resolve => child.on('close', (code, signal) => {
    started.code = code ?? signal
    resolve(started.code)
  }))
  child.on('error', error => { started.log += error.message })
  children.push(child)
  return started
}

// keys is a directory with the secrets of the application.
export const keys = join(folder, 'keys')
const secret = randomBytes(32).toString('base64')
mkdirSync(keys)
writeFileSync(join(keys, 'jwt-secret'), secret + '\n')
writeFileSync(join(keys, 'webhook-secret'), randomBytes(32).toString('base64') + '\n')

let editors = 0
// editor starts an editor and waits until it is ready. Without other flags it is a service by itself that takes everybody
// and whose rate limits no test reaches.
export async function editor ({ limits = ['--operations-per-second=10000', '--operation-burst=100000'], flags = [] } = {}) {
  const it = { data: join(folder, `editor-${++editors}`), process: undefined }
  it.start = async () => {
    for (let attempt = 0; ; attempt++) {
      it.address ??= `127.0.0.1:${await freePort()}`
      const internal = `127.0.0.1:${await freePort()}`
      it.internal = `http://${internal}`
      const cluster = flags.some(flag => flag.startsWith('--shardmap-file'))
      it.process = run(process.env.EDITOR, [
        ...(cluster ? [] : ['--data', it.data]), '--listen', it.address, '--internal-listen', internal,
        '--log-level', 'debug', ...limits, ...flags
      ], { env: { ...process.env, GORACE: 'atexit_sleep_ms=10' } }) // Instead of a second.
      const ready = () => fetch(it.internal + '/readyz').then(({ ok }) => ok, () => false)
      await until('an editor to be ready', async () => it.process.code !== undefined || await ready(),
        () => it.process.log.slice(-2000))
      if (it.process.code === undefined) return
      // Somebody else has taken the port meanwhile.
      assert.ok(attempt < 5 && it.process.log.includes('address already in use'), it.process.log)
      if (attempt > 0) it.address = undefined
    }
  }
  // stop ends it as Kubernetes does.
  it.stop = async () => {
    if (it.process.code !== undefined) return
    it.process.child.kill('SIGTERM')
    await it.process.ended
    it.check()
    assert.equal(it.process.code, 0, `the editor ended badly: ${it.process.log.slice(-5000)}`)
  }
  // kill ends it as a crash does.
  it.kill = async () => {
    it.process.child.kill('SIGKILL')
    await it.process.ended
    it.check()
  }
  it.check = () => {
    assert.ok(!/DATA RACE|panic:/.test(it.process.log), it.process.log.slice(-20000))
    for (const part of issued) assert.ok(!it.process.log.includes(part), `the log has a part of a token, ${part}`)
  }
  // metric is the sum of a metric's values.
  it.metric = async name => {
    const text = await (await fetch(it.internal + '/metrics')).text()
    return text.split('\n').filter(line => line.startsWith(name + ' ') || line.startsWith(name + '{'))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  }
  await it.start()
  atEnd(it.stop)
  return it
}

// network is a way to a server that can be cut, blocked, frozen, and led to another one.
export async function network (to) {
  const ends = new Set()
  const it = { to, blocked: false }
  const server = net.createServer(here => {
    if (it.blocked) return here.destroy()
    const [host, port] = it.to.split(':')
    const there = net.connect(Number(port), host)
    for (const [a, b] of [[here, there], [there, here]]) {
      ends.add(a)
      a.on('error', () => {})
      a.on('close', () => { ends.delete(a); b.destroy() })
      a.pipe(b)
    }
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  it.address = `127.0.0.1:${server.address().port}`
  // cut ends all connections at once.
  it.cut = () => ends.forEach(end => end.resetAndDestroy())
  // freeze lets nothing through anymore, without anybody being told.
  it.freeze = () => ends.forEach(end => { end.unpipe(); end.pause() })
  atEnd(() => { it.cut(); server.close() })
  return it
}

const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')

// issued are the parts of all tokens, of which none may be in a log.
const issued = new Set()

// secretly remembers that a text is a token, and returns it.
export function secretly (text) {
  for (const part of text.split('.')) if (part.length > 40) issued.add(part) // All tokens have the same header.
  return text
}

// token signs an access token of the application.
export function token (sub, docs, { seconds = 600, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000)
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub, docs, iat: now, exp: now + seconds, ...claims })}`
  return secretly(`${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`)
}

// everything and reading are what most tokens allow.
export const everything = { 'acme/*': 'write' }
export const reading = { 'acme/*': 'read' }

// recorder is a WebSocket for providers. Each socket remembers what it received, and why it was closed or not opened.
export function recorder (options = {}) {
  const sockets = []
  class Recorded extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols, options)
      this.received = []
      this.on('message', data => this.received.push(new Uint8Array(data)))
      this.on('close', (code, reason) => { this.closed = { code, reason: reason.toString() } })
      this.on('error', error => { this.failure = error.message })
      sockets.push(this)
    }
  }
  return { sockets, Recorded, codes: () => sockets.map(({ closed }) => closed?.code).filter(code => code !== undefined) }
}

// yWebsocket connects a document with a version of y-websocket.
export async function yWebsocket (version, address, name, { doc = new Y.Doc(), headers, deflate, ...options } = {}) {
  const { WebsocketProvider } = await import(`y-websocket-${version}`)
  const { Recorded, ...record } = recorder({ headers, ...deflate === false && { perMessageDeflate: false } })
  const provider = new WebsocketProvider(`ws://${address}/collab`, name, doc, {
    WebSocketPolyfill: Recorded, disableBc: true, maxBackoffTime: 200, ...options
  })
  const client = { doc, provider, ...record, awareness: provider.awareness, text: doc.getText('text'), final: [] }
  provider.on('closed', ({ code }) => client.final.push(code))
  client.close = () => { provider.destroy(); doc.destroy() }
  atEnd(client.close)
  return client
}

// hocuspocus connects a document with a version of Hocuspocus's provider, on a socket of its own or on that of another
// client.
export async function hocuspocus (version, address, name, { on, headers, query = '', ...options } = {}) {
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = await import(`hocuspocus-provider-${version}`)
  const { Recorded, ...record } = on ?? recorder({ headers })
  const socket = on?.socket ?? new HocuspocusProviderWebsocket({
    url: `ws://${address}/hocuspocus${query}`, WebSocketPolyfill: Recorded, delay: 50, minDelay: 50, maxDelay: 200
  })
  const doc = new Y.Doc()
  const client = {
    doc, socket, sockets: record.sockets, codes: record.codes, name, text: doc.getText('text'),
    stateless: [], denied: [], granted: [], closes: [], unsynced: []
  }
  client.provider = new HocuspocusProvider({
    websocketProvider: socket, name, document: doc, token: null, broadcast: false, quiet: true, ...options,
    onStateless: ({ payload }) => client.stateless.push(payload),
    onAuthenticationFailed: ({ reason }) => client.denied.push(reason),
    onAuthenticated: () => client.granted.push(client.provider.authorizedScope),
    onClose: ({ event }) => client.closes.push(event.reason),
    onUnsyncedChanges: ({ number }) => client.unsynced.push(number ?? client.provider.unsyncedChanges)
  })
  client.provider.attach?.()
  client.awareness = client.provider.awareness
  client.close = () => { client.provider.destroy(); if (!on) socket.destroy(); doc.destroy() }
  atEnd(client.close)
  return client
}

// synced waits until clients have what the server has.
export const synced = (...clients) => until('clients to be synchronized', () => clients.every(c => c.provider.synced),
  () => clients.map(c => ({ codes: c.codes(), failures: c.sockets.map(s => s.failure), denied: c.denied })))

// saved waits until nothing of Hocuspocus's clients is unsaved.
export const saved = (...clients) => until('everything to be saved', () => clients.every(c => !c.provider.hasUnsyncedChanges),
  () => clients.map(c => ({ unsynced: c.unsynced, codes: c.codes(), denied: c.denied })))

// closed waits until one of a client's sockets was closed with a code.
export const closed = (client, code) => until(`the close code ${code}`, () => client.codes().includes(code),
  () => client.sockets.map(({ closed, failure }) => ({ closed, failure })))

// stayed says that a client has had one socket, which is open.
export function stayed (...clients) {
  for (const { sockets, codes } of clients) assert.deepEqual([sockets.length, codes()], [1, []])
}

// message writes a message by hand: numbers, texts and byte strings, as lib0 encodes them.
export function message (...parts) {
  const encoder = encoding.createEncoder()
  for (const part of parts) {
    if (typeof part === 'number') encoding.writeVarUint(encoder, part)
    else if (typeof part === 'string') encoding.writeVarString(encoder, part)
    else encoding.writeVarUint8Array(encoder, part)
  }
  return encoding.toUint8Array(encoder)
}

// state is the presence that somebody has of another client.
export const state = (of, at) => at.awareness.getStates().get(of.doc.clientID)

// random is a text that cannot be compressed well.
export const random = size => randomBytes(Math.ceil(size * 3 / 4)).toString('base64').slice(0, size)

export { assert, WebSocket, Y }

// Drives unmodified providers through every feature of both protocols. The editor's addresses and the secret that signs
// tokens come from the environment: OPEN takes everybody, GUARDED wants tokens. Run by hack/test/clients.sh.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, test } from 'node:test'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const open = process.env.OPEN
const guarded = process.env.GUARDED
const secret = process.env.SECRET
const versions = ['2', '3', '4']

const closing = []
after(() => { for (const close of closing) close() })

// Each provider listens for the end of the process.
process.setMaxListeners(0)

let documents = 0
const document = () => `acme/document-${process.pid}-${documents++}`

// until waits for a condition.
async function until(what, condition) {
  for (const start = Date.now(); !condition(); await new Promise(resolve => setTimeout(resolve, 10))) {
    if (Date.now() - start > 20_000) throw new Error(`waited in vain: ${what}`)
  }
}

const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')

// token signs an access token for a user.
function token(sub, docs, seconds = 600) {
  const now = Math.floor(Date.now() / 1000)
  const head = encode({ alg: 'HS256', typ: 'JWT' })
  const body = encode({ sub, docs, iat: now, exp: now + seconds })
  return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`
}

function yWebsocket(server, room, params = {}) {
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(`ws://${server}/collab`, room, doc, {
    WebSocketPolyfill: WebSocket, disableBc: true, maxBackoffTime: 500, params,
  })
  provider.codes = []
  provider.on('connection-close', event => { if (event) provider.codes.push(event.code) })
  closing.push(() => provider.destroy())
  return { doc, provider, text: doc.getText('text') }
}

async function hocuspocus(version, server, name, options = {}) {
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = await import(`hocuspocus-provider-${version}`)
  const doc = new Y.Doc()
  const socket = options.socket ?? new HocuspocusProviderWebsocket({
    url: `ws://${server}/hocuspocus`, WebSocketPolyfill: WebSocket, delay: 50, maxDelay: 500, minDelay: 50,
  })
  const seen = { stateless: [], failed: [], scope: undefined }
  const provider = new HocuspocusProvider({
    websocketProvider: socket, name, document: doc, token: options.token ?? null,
    onStateless: ({ payload }) => seen.stateless.push(payload),
    onAuthenticationFailed: ({ reason }) => seen.failed.push(reason),
    onAuthenticated: ({ scope } = {}) => { seen.scope = scope },
    ...options.extra,
  })
  provider.attach?.()
  closing.push(() => { provider.destroy(); if (!options.socket) socket.destroy() })
  return { doc, provider, socket, seen, text: doc.getText('text') }
}

test('y-websocket: two clients edit together, and a third finds what they wrote', async () => {
  const name = document()
  const [a, b] = [yWebsocket(open, name), yWebsocket(open, name)]
  await until('both to be synced', () => a.provider.synced && b.provider.synced)
  a.text.insert(0, 'hello ')
  b.text.insert(0, 'world ')
  await until('the same text', () => a.text.length === 12 && a.text.toString() === b.text.toString())
  const late = yWebsocket(open, name)
  await until('the third to have it', () => late.text.toString() === a.text.toString())
})

test('y-websocket: presence comes and goes', async () => {
  const name = document()
  const [a, b] = [yWebsocket(open, name), yWebsocket(open, name)]
  await until('both to be synced', () => a.provider.synced && b.provider.synced)
  a.provider.awareness.setLocalStateField('user', { name: 'Ada' })
  await until('b to see a', () => b.provider.awareness.getStates().get(a.doc.clientID)?.user?.name === 'Ada')
  const late = yWebsocket(open, name)
  await until('who comes later to see a', () => late.provider.awareness.getStates().has(a.doc.clientID))
  a.provider.destroy()
  await until('a to be gone', () => !b.provider.awareness.getStates().has(a.doc.clientID))
})

test('y-websocket: edits made while offline arrive after reconnecting', async () => {
  const name = document()
  const [a, b] = [yWebsocket(open, name), yWebsocket(open, name)]
  await until('both to be synced', () => a.provider.synced && b.provider.synced)
  a.provider.disconnect()
  a.text.insert(0, 'offline')
  b.text.insert(0, 'online ')
  a.provider.connect()
  await until('the same text', () => a.text.length === 14 && a.text.toString() === b.text.toString())
})

test('y-websocket: without a token, or with a bad one, the connection is closed with 4401', async () => {
  for (const params of [{}, { token: 'nonsense' }, { token: token('eve', { 'acme/*': 'write' }, -60) }]) {
    const c = yWebsocket(guarded, document(), params)
    await until('the close code', () => c.provider.codes.includes(4401))
    c.provider.destroy()
  }
})

test('y-websocket: a document that the token does not allow is closed with 4403', async () => {
  const c = yWebsocket(guarded, 'other/document', { token: token('eve', { 'acme/*': 'write' }) })
  await until('the close code', () => c.provider.codes.includes(4403))
  c.provider.destroy()
})

test('y-websocket: a reader sees edits and cannot make any', async () => {
  const name = document()
  const writer = yWebsocket(guarded, name, { token: token('ada', { 'acme/*': 'write' }) })
  const reader = yWebsocket(guarded, name, { token: token('rob', { 'acme/*': 'read' }) })
  await until('both to be synced', () => writer.provider.synced && reader.provider.synced)
  reader.text.insert(0, 'forbidden ')
  writer.text.insert(0, 'allowed')
  await until('the reader to see the edit', () => reader.text.toString().includes('allowed'))
  const late = yWebsocket(guarded, name, { token: token('ada', { 'acme/*': 'write' }) })
  await until('the text', () => late.text.toString() === 'allowed')
  assert.equal(writer.text.toString(), 'allowed')
})

for (const version of versions) {
  const title = `hocuspocus ${version}`

  test(`${title}: edits pass between both protocols`, async () => {
    const name = document()
    const a = await hocuspocus(version, open, name)
    const b = yWebsocket(open, name)
    await until('both to be synced', () => a.provider.synced && b.provider.synced)
    a.text.insert(0, 'hello ')
    await until('b to have it', () => b.text.toString() === 'hello ')
    b.text.insert(6, 'world')
    await until('a to have it', () => a.text.toString() === 'hello world')
  })

  test(`${title}: nothing is unsaved once it is durable`, async () => {
    const a = await hocuspocus(version, open, document())
    await until('the first synchronization', () => !a.provider.hasUnsyncedChanges)
    a.text.insert(0, 'one')
    a.text.insert(3, ' two')
    assert.ok(a.provider.hasUnsyncedChanges)
    await until('the changes to be saved', () => !a.provider.hasUnsyncedChanges)
  })

  test(`${title}: documents share a socket`, async () => {
    const names = [document(), document(), document()]
    const first = await hocuspocus(version, open, names[0])
    const all = [first]
    for (const name of names.slice(1)) all.push(await hocuspocus(version, open, name, { socket: first.socket }))
    all.forEach((c, i) => c.text.insert(0, `text ${i}`))
    const others = await Promise.all(names.map(name => hocuspocus(version, open, name)))
    await until('each its own text', () => others.every((c, i) => c.text.toString() === `text ${i}`))
    all[1].provider.destroy()
    others[2].text.insert(0, 'more ')
    await until('the others to go on', () => all[2].text.toString() === 'more text 2')
  })

  test(`${title}: stateless messages reach the others`, async () => {
    const name = document()
    const [a, b] = [await hocuspocus(version, open, name), await hocuspocus(version, open, name)]
    await until('both to be synced', () => a.provider.synced && b.provider.synced)
    a.provider.sendStateless('ping')
    await until('b to have it', () => b.seen.stateless.includes('ping'))
    assert.deepEqual(a.seen.stateless, [])
  })

  test(`${title}: presence comes and goes`, async () => {
    const name = document()
    const [a, b] = [await hocuspocus(version, open, name), await hocuspocus(version, open, name)]
    a.provider.setAwarenessField('user', { name: 'Ada' })
    await until('b to see a', () => b.provider.awareness.getStates().get(a.doc.clientID)?.user?.name === 'Ada')
    a.provider.destroy()
    a.socket.destroy()
    await until('a to be gone', () => !b.provider.awareness.getStates().has(a.doc.clientID))
  })

  test(`${title}: a token decides who may read and who may write`, async () => {
    const name = document()
    const writer = await hocuspocus(version, guarded, name, { token: token('ada', { 'acme/*': 'write' }) })
    const reader = await hocuspocus(version, guarded, name, { token: token('rob', { 'acme/*': 'read' }) })
    await until('both to be authenticated', () => writer.provider.isAuthenticated && reader.provider.isAuthenticated)
    assert.equal(writer.provider.authorizedScope, 'read-write')
    assert.equal(reader.provider.authorizedScope, 'readonly')
    writer.text.insert(0, 'allowed')
    await until('the reader to see it', () => reader.text.toString() === 'allowed')
    await until('nothing to be unsaved at the reader', () => !reader.provider.hasUnsyncedChanges)
    reader.text.insert(0, 'forbidden')
    await new Promise(resolve => setTimeout(resolve, 200))
    assert.equal(writer.text.toString(), 'allowed')
  })

  test(`${title}: a bad token is refused`, async () => {
    const name = document()
    const c = await hocuspocus(version, guarded, name, { token: token('eve', { 'other/*': 'write' }) })
    await until('the refusal', () => c.seen.failed.length > 0)
    const d = await hocuspocus(version, guarded, name, { token: 'nonsense' })
    await until('the refusal', () => d.seen.failed.length > 0)
  })
}

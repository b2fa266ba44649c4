// Drives unmodified yjs, y-websocket and Hocuspocus clients: requests come as JSON lines on stdin, answers go to stdout.
//
//   {"id": 1, "op": "connect", "client": "a", "url": "ws://…/collab", "room": "org/document", "token": "…"}
//   {"id": 1, "op": "connect", "client": "b", "url": "ws://…/hocuspocus", "room": "org/document", "token": "…"}
//   {"id": 1, "result": {…}}   or   {"id": 1, "error": "…"}
//
// Requests are handled concurrently; an answer bears its request's id.
import { createInterface } from 'node:readline'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'

// Each provider listens for the end of the process.
process.setMaxListeners(0)

const clients = new Map()

function client(name) {
  const found = clients.get(name)
  if (!found) throw new Error(`there is no client ${name}`)
  return found
}

// A token is inserted in one piece at the edge of another one, never inside it, so that the text can be split into
// tokens again however edits were merged.
function insertToken(text, token) {
  const content = text.toString()
  const end = content.indexOf(';', Math.floor(Math.random() * (content.length + 1)))
  text.insert(end < 0 ? content.length : end + 1, token)
}

async function type(target, { tag, count, interval }) {
  for (let n = 0; n < count && !target.stopped; n++) {
    insertToken(target.text, `${tag}-${n};`)
    target.typed++
    await new Promise(resolve => setTimeout(resolve, interval))
  }
}

const operations = {
  connect({ client: name, url, room, token }) {
    if (clients.has(name)) throw new Error(`there is a client ${name} already`)
    const doc = new Y.Doc()
    const target = { doc, text: doc.getText('content'), typed: 0, closes: 0, codes: [], stopped: false, typing: null }
    const closed = event => {
      if (!event) return
      target.closes++
      target.codes.push(event.event?.code ?? event.code)
    }
    if (url.endsWith('/hocuspocus')) {
      const websocketProvider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket, maxDelay: 1000 })
      websocketProvider.on('close', closed)
      target.provider = new HocuspocusProvider({ websocketProvider, name: room, document: doc, token: token ?? null })
      target.provider.attach()
      target.end = () => { target.provider.destroy(); websocketProvider.destroy() }
      target.state = () => ({ connected: websocketProvider.status === 'connected', synced: target.provider.isSynced })
    } else {
      target.provider = new WebsocketProvider(url, room, doc, {
        WebSocketPolyfill: WebSocket,
        params: token ? { token } : {},
        // Clients of one process must not exchange edits behind the server's back.
        disableBc: true,
        maxBackoffTime: 1000,
      })
      target.provider.on('connection-close', closed)
      target.end = () => target.provider.destroy()
      target.state = () => ({ connected: target.provider.wsconnected, synced: target.provider.synced })
    }
    clients.set(name, target)
  },
  state({ client: name }) {
    const { state, closes, codes, typed } = client(name)
    return { ...state(), closes, codes, typed }
  },
  // type begins to type and answers at once.
  type(request) {
    const target = client(request.client)
    if (target.typing) throw new Error(`${request.client} is typing already`)
    target.stopped = false
    target.typing = type(target, request)
  },
  // typed waits until the client has typed everything.
  async typed({ client: name }) {
    const target = client(name)
    await target.typing
    target.typing = null
    return { typed: target.typed }
  },
  // stop ends the typing before its time.
  async stop({ client: name }) {
    const target = client(name)
    target.stopped = true
    await target.typing
    target.typing = null
    return { typed: target.typed }
  },
  text({ client: name }) {
    return { text: client(name).text.toString() }
  },
  disconnect({ client: name }) {
    const target = client(name)
    target.stopped = true
    target.end()
    target.doc.destroy()
    clients.delete(name)
  },
  // replay answers what a document says that consists of these updates.
  replay({ updates }) {
    const doc = new Y.Doc()
    for (const update of updates) Y.applyUpdate(doc, Buffer.from(update, 'base64'))
    return { text: doc.getText('content').toString() }
  },
}

const answer = message => process.stdout.write(JSON.stringify(message) + '\n')

createInterface({ input: process.stdin })
  .on('line', async line => {
    const request = JSON.parse(line)
    try {
      const operation = operations[request.op]
      if (!operation) throw new Error(`there is no operation ${request.op}`)
      answer({ id: request.id, result: (await operation(request)) ?? {} })
    } catch (error) {
      answer({ id: request.id, error: String(error) })
    }
  })
  .on('close', () => process.exit(0))

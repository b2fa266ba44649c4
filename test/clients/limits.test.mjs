// What clients may not do, and what becomes of those who try: floods, messages and documents that are too large, and too
// many connections and documents.
import { describe, test } from 'node:test'
import {
  assert, closed, editor, everything, hocuspocus, keys, message, newName, random, same, saved, stayed, synced, token, until,
  WebSocket, Y, yWebsocket
} from './harness.mjs'

const guarded = ['--auth-secret-dir', keys]
const strict = await editor({ limits: [], flags: guarded }) // The limits that clients have by default.
const small = await editor({ flags: ['--max-document-bytes=200000'] })
const crowded = await editor({ flags: [
  ...guarded, '--connections-per-user=2', '--connections-per-organization=4', '--connections-per-pod=6'
] })

let users = 0
const newToken = (user = `user-${++users}`) => token(user, { '*/*': 'write' })

// hand opens a socket without a provider, and resolves when it was closed.
const hand = (address, path, opened) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${address}${path}`)
  socket.on('open', () => opened(socket))
  socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  socket.on('error', reject)
})

describe('limits', { concurrency: true }, () => {
  test('what a fast writer types and pastes is taken without delay', async () => {
    const name = newName()
    const clients = [
      await yWebsocket('3', strict.address, name, { params: { token: newToken() } }),
      await hocuspocus('4', strict.address, name, { token: newToken() })
    ]
    await synced(...clients)
    for (let i = 0; i < 100; i++) clients.forEach(({ text }) => text.insert(text.length, 'x'))
    clients[0].text.insert(0, random(1 << 20))
    await saved(clients[1])
    await until('everything', () => clients.every(({ text }) => text.length === 200 + (1 << 20)),
      () => clients.map(({ text }) => text.length))
    stayed(...clients)
  })

  test('who floods is held back, then closed with 4429, and others do not notice', async () => {
    const name = newName()
    const flooding = await yWebsocket('3', strict.address, name, { params: { token: newToken() } })
    const [a, b] = await Promise.all([1, 2].map(() => yWebsocket('3', strict.address, name, { params: { token: newToken() } })))
    await synced(flooding, a, b)
    const start = Date.now()
    const timer = setInterval(() => {
      if (flooding.provider.ws?.readyState === WebSocket.OPEN) for (let i = 0; i < 20; i++) flooding.provider.ws.send(message(3))
    }, 10)
    try {
      await until('messages to wait', async () => await strict.metric('collab_editor_ratelimit_waits_total') > 0)
      let slowest = 0
      while (flooding.codes().length === 0 && Date.now() - start < 90_000) {
        const typed = Date.now()
        a.text.insert(a.text.length, 'x')
        await same([a, b])
        slowest = Math.max(slowest, Date.now() - typed)
        await new Promise(resolve => setTimeout(resolve, 250))
      }
      await closed(flooding, 4429)
      const took = Date.now() - start
      assert.ok(took > 5000, `it was not held back before: closed after ${took} ms`)
      assert.ok(slowest < 20_000, `an edit of others took ${slowest} ms`)
      assert.deepEqual(flooding.final, [4429]) // This version does not come back by itself.
      stayed(a, b)
    } finally {
      clearInterval(timer)
    }
  })

  test('who sends more bytes than it may is closed with 4429', async () => {
    const c = await yWebsocket('3', strict.address, newName(), { params: { token: newToken() } })
    await synced(c)
    // What the server has already costs it least, so that the rate is all that holds it back, however slow the machine is.
    const large = new Y.Doc()
    large.getText('text').insert(0, 'x'.repeat(1 << 20)) // Compression does not help.
    const update = message(0, 2, Y.encodeStateAsUpdate(large))
    const [socket] = c.sockets
    await until('the close code 4429', () => {
      if (socket.bufferedAmount < update.length) socket.send(update, () => {})
      return socket.closed?.code === 4429
    }, () => socket.closed)
    c.close()
  })

  test('a message of more than 16 MiB closes the connection with 1009, compressed or not', async () => {
    for (const [text, deflate] of [['x'.repeat(17 << 20), true], ['x'.repeat(17 << 20), false]]) {
      const c = await yWebsocket('2', small.address, newName(), { deflate })
      await synced(c)
      c.text.insert(0, text)
      await closed(c, 1009)
      c.close()
    }
    for (const version of ['2', '3', '4']) {
      const c = await hocuspocus(version, small.address, newName())
      await synced(c)
      c.text.insert(0, 'x'.repeat(17 << 20))
      await closed(c, 1009)
      assert.ok(c.provider.hasUnsyncedChanges)
      c.close()
    }
  })

  test('a change that makes the document too large is not taken and closes with 4413; others keep the document', async () => {
    for (const connect of [
      name => yWebsocket('2', small.address, name), name => yWebsocket('3', small.address, name),
      name => hocuspocus('2', small.address, name), name => hocuspocus('3', small.address, name),
      name => hocuspocus('4', small.address, name)
    ]) {
      const name = newName()
      const [c, other] = [await connect(name), await hocuspocus('4', small.address, name)]
      await synced(c, other)
      c.text.insert(0, 'kept')
      await same([c, other], 'kept')
      c.text.insert(0, random(300_000))
      await closed(c, 4413)
      c.close()
      const late = await yWebsocket('3', small.address, name)
      await synced(late)
      assert.equal(late.text.toString(), 'kept')
      late.text.insert(4, '!')
      await until('the next edit', () => other.text.toString() === 'kept!', () => other.text.toString().slice(-20))
    }
  })

  test('connections beyond those of a user, an organization or the pod are closed with 4503, and come in when one ends', async () => {
    const connect = (org, user) => yWebsocket('3', crowded.address, `${org}/crowd`, { params: { token: newToken(user) } })
    const [a, b] = [await connect('one', 'ada'), await connect('one', 'ada')]
    await synced(a, b)
    const third = await connect('two', 'ada')
    await closed(third, 4503)
    assert.match(third.sockets[0].closed.reason, /user has too many/)
    assert.deepEqual(third.final, [])
    a.close()
    await synced(third) // It tried again by itself.

    const more = [await connect('one', 'bob'), await connect('one', 'bob'), await connect('one', 'cem')]
    await synced(...more)
    const fifth = await connect('one', 'dea')
    await closed(fifth, 4503)
    assert.match(fifth.sockets[0].closed.reason, /organization has too many/)
    fifth.close()

    await synced(await connect('two', 'eva'))
    const seventh = await hocuspocus('4', crowded.address, 'three/crowd', { token: newToken('fay') })
    await closed(seventh, 4503)
    assert.match(seventh.sockets[0].closed.reason, /server has too many/)
    b.close()
    await synced(seventh)
    assert.equal(await crowded.metric('collab_editor_ratelimit_connections'), 6)
  })

  test('a connection has at most 100 documents', async () => {
    const first = await hocuspocus('4', small.address, newName())
    const all = [first]
    for (let i = 1; i < 100; i++) all.push(await hocuspocus('4', small.address, newName(), { on: first }))
    await synced(...all)
    const beyond = await hocuspocus('4', small.address, newName(), { on: first })
    await until('the denial', () => beyond.denied.length > 0, () => beyond.granted)
    assert.match(beyond.denied[0], /100 documents/)
    all[7].provider.destroy()
    const next = await hocuspocus('4', small.address, newName(), { on: first })
    await synced(next)
    all[99].text.insert(0, 'x')
    await saved(all[99])
    stayed(first)
  })

  test('before a document is open, little is held and few messages are taken', async () => {
    const update = Y.encodeStateAsUpdate(new Y.Doc())
    assert.deepEqual(await hand(strict.address, '/hocuspocus', socket => {
      for (let i = 0; i < 20; i++) socket.send(message('acme/held', 0, 2, update))
    }), { code: 4401, reason: 'send a token first' })
    const { code } = await hand(strict.address, '/hocuspocus', socket => {
      for (let i = 0; i < 300; i++) socket.send(Uint8Array.of(9))
    })
    assert.equal(code, 4429)
  })

  test('what is no WebSocket, and what names no document, is answered in HTTP', async () => {
    const status = async path => (await fetch(`http://${strict.address}${path}`)).status
    assert.deepEqual(await Promise.all(['/collab/acme/x', '/hocuspocus', '/collab/acme', '/collab/acme/a/b', '/'].map(status)),
      [426, 426, 404, 404, 404])
  })
})

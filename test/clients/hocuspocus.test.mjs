// What Hocuspocus's provider does with the editor when everybody is let in.
import { describe, test } from 'node:test'
import {
  assert, closed, converged, editor, hocuspocus, message, network, newName, same, saved, state, stayed, synced, until,
  WebSocket, yWebsocket
} from './harness.mjs'

const server = await editor()
const versions = ['2', '3', '4']

// about is the messages of a kind that a client's socket received about its document, without their heads.
const about = (client, kind) => {
  const head = Buffer.from(message(client.name, kind))
  return client.sockets[0].received.map(data => Buffer.from(data)).filter(data => data.subarray(0, head.length).equals(head))
    .map(data => data.subarray(head.length))
}

describe('hocuspocus', { concurrency: true }, () => {
  for (const version of versions) {
    const connect = (name, options) => hocuspocus(version, options?.through ?? server.address, name, options)

    describe(`version ${version}`, { concurrency: 8 }, () => {
      test('what several clients type at once ends as the same text everywhere, also with y-websocket', async () => {
        const name = newName()
        const clients = [await connect(name), await connect(name), await yWebsocket('3', server.address, name)]
        await synced(...clients)
        for (let i = 0; i < 60; i++) {
          clients.forEach(({ text }, k) => {
            text.insert(Math.floor(Math.random() * (text.length + 1)), 'abc'[k])
            if (i % 10 === 9) text.delete(Math.floor(Math.random() * text.length), 1)
          })
          if (i % 7 === 0) await new Promise(setImmediate)
        }
        const text = await converged(...clients)
        await saved(clients[0], clients[1])
        const late = await connect(name)
        await synced(late)
        assert.equal(late.text.toString(), text)
        stayed(...clients, late)
      })

      test('each change is unsaved until it is stored', async () => {
        const a = await connect(newName())
        await synced(a)
        await saved(a)
        for (const word of ['one', ' two', ' three']) a.text.insert(a.text.length, word)
        assert.equal(a.provider.unsyncedChanges, 3)
        await saved(a)
        const b = await connect(a.name)
        await synced(b)
        assert.equal(b.text.toString(), 'one two three')
        stayed(a)
      })

      test('what was written before the connection was there is saved', async () => {
        const a = await connect(newName())
        a.text.insert(0, 'early')
        await synced(a)
        await saved(a)
        const b = await connect(a.name)
        await synced(b)
        assert.equal(b.text.toString(), 'early')
        stayed(a)
      })

      test('documents share a socket without touching each other', async () => {
        const names = Array.from({ length: 5 }, newName)
        const first = await connect(names[0])
        const mine = [first]
        for (const name of names.slice(1)) mine.push(await connect(name, { on: first }))
        const others = await Promise.all(names.map(name => connect(name)))
        await synced(...mine, ...others)
        mine.forEach(({ text }, i) => text.insert(0, `document ${i}`))
        for (const i of names.keys()) await same([mine[i], others[i]], `document ${i}`)
        await saved(...mine)
        // Who ends leaves one document. What others write there does not come anymore; it would come before the next.
        mine[1].awareness.setLocalState({ user: 'Ada' })
        mine[2].awareness.setLocalState({ user: 'Ada' })
        await until('presence', () => state(mine[1], others[1]) && state(mine[2], others[2]))
        mine[1].provider.destroy()
        await until('the end of presence', () => !state(mine[1], others[1]), () => [...others[1].awareness.getStates()])
        others[1].text.insert(0, 'more ')
        await saved(others[1])
        others[2].text.insert(0, 'more ')
        await same([mine[2], others[2]], 'more document 2')
        assert.equal(mine[1].text.toString(), 'document 1')
        assert.equal(state(mine[2], others[2])?.user, 'Ada')
        // It can be opened again.
        const again = await connect(names[1], { on: first })
        await same([again, others[1]], 'more document 1')
        stayed(first)
      })

      test('stateless messages reach all others, in both directions and between versions', async () => {
        const name = newName()
        const [a, b] = [await connect(name), await connect(name)]
        const rest = await Promise.all(versions.filter(v => v !== version).map(v => hocuspocus(v, server.address, name)))
        const other = await yWebsocket('3', server.address, name)
        await synced(a, b, ...rest, other)
        a.provider.sendStateless('{"ring":"the bell ✓"}')
        for (const c of [b, ...rest]) await until('the message', () => c.stateless.length > 0, () => c.stateless)
        b.provider.sendStateless('back')
        for (const c of [a, ...rest]) await until('the answer', () => c.stateless.includes('back'), () => c.stateless)
        assert.deepEqual(a.stateless, ['back'])
        assert.deepEqual(b.stateless, ['{"ring":"the bell ✓"}'])
        for (const c of rest) assert.deepEqual(c.stateless, ['{"ring":"the bell ✓"}', 'back'])
        stayed(a, b, ...rest, other)
      })

      test('presence is shared with both protocols, told to who comes later, and ends with its connection', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const [a, b] = [await connect(name, { through: way.address }), await connect(name)]
        const other = await yWebsocket('3', server.address, name)
        await synced(a, b, other)
        a.provider.setAwarenessField('user', { name: 'Ada' })
        other.awareness.setLocalState({ user: { name: 'Otto' } })
        const ada = at => until('Ada', () => state(a, at)?.user?.name === 'Ada', () => [...at.awareness.getStates()])
        const nobody = at => until('nobody', () => !state(a, at), () => [...at.awareness.getStates()])
        await ada(b)
        await ada(other)
        await until('Otto', () => state(other, a)?.user?.name === 'Otto', () => [...a.awareness.getStates()])
        const late = await connect(name)
        await ada(late)
        way.blocked = true
        way.cut()
        await nobody(b)
        await nobody(other)
        way.blocked = false
        await ada(b)
        a.close()
        await nobody(b)
        await nobody(late)
        stayed(b, other, late)
      })

      test('a question for presence is answered with everybody', async () => {
        const name = newName()
        const [a, b] = [await connect(name), await connect(name)]
        await synced(a, b)
        a.awareness.setLocalState({ user: 'Ada' })
        await until('Ada', () => state(a, b), () => [...b.awareness.getStates()])
        const before = about(b, 1).length
        b.sockets[0].send(message(name, 3))
        await until('the answer', () => about(b, 1).length > before)
        assert.match(about(b, 1).at(-1).toString(), /Ada/)
      })

      test('edits made while the connection was cut are merged and saved after it is back', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const [a, b] = [await connect(name, { through: way.address }), await connect(name)]
        const second = await connect(newName(), { on: a })
        await synced(a, b, second)
        a.text.insert(0, 'before ')
        await same([a, b], 'before ')
        way.blocked = true
        way.cut()
        await until('the client to notice', () => a.codes().length > 0, () => a.codes())
        a.text.insert(a.text.length, 'offline')
        second.text.insert(0, 'offline too')
        b.text.insert(b.text.length, 'online')
        assert.ok(a.provider.hasUnsyncedChanges)
        way.blocked = false
        await until('both edits', () => a.text.length === 20 && b.text.length === 20, () => [a, b].map(c => `${c.text}`))
        await same([a, b])
        await saved(a, b, second)
        const late = await connect(second.name)
        await same([late, second], 'offline too')
        stayed(b)
      })

      test('edits that were under way when the connection was cut are not lost', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const [a, b] = [await connect(name, { through: way.address }), await connect(name)]
        await synced(a, b)
        for (let i = 0; i < 300; i++) {
          a.text.insert(a.text.length, `${i};`)
          if (i % 100 === 50) way.cut()
          if (i % 10 === 0) await new Promise(resolve => setTimeout(resolve, 1))
        }
        await same([a, b], Array.from({ length: 300 }, (_, i) => `${i};`).join(''))
        assert.ok(a.sockets.length > 1, 'the connection was never cut')
      })

      test('a forced synchronization is answered, and nothing stays unsaved', async () => {
        const a = await connect(newName())
        a.text.insert(0, 'x')
        await synced(a)
        await saved(a)
        a.provider.forceSync()
        assert.ok(a.provider.hasUnsyncedChanges)
        await saved(a)
      })

      test('a document without presence works', async () => {
        const name = newName()
        const [a, b] = [await connect(name, { awareness: null }), await connect(name)]
        await synced(a, b)
        b.awareness.setLocalState({ user: 'Ada' })
        a.text.insert(0, 'x')
        await same([a, b], 'x')
        await saved(a)
      })

      test('a name that is no document\'s is denied, and the socket goes on', async () => {
        const good = await connect(newName())
        await synced(good)
        for (const name of ['no-organization', 'acme/a/b', 'acme/../x', 'acme/ä', '.acme/x']) {
          const bad = await connect(name, { on: good })
          await until('the denial', () => bad.denied.length > 0, () => bad.granted)
          assert.match(bad.denied[0], /organization\/document/)
          assert.deepEqual([bad.provider.synced, bad.granted], [false, []])
        }
        good.text.insert(0, 'x')
        await saved(good)
        stayed(good)
      })

      test('what is no message closes the connection with 1007, text with 1003, and disturbs nobody else', async () => {
        const name = newName()
        const other = await connect(name)
        await synced(other)
        const junk = [
          ['text', 1003], [Uint8Array.of(), 1007], [Uint8Array.of(200), 1007], [message(name, 99), 1007],
          [message(name, 0, 7), 1007], [message(name, 0, 2, Uint8Array.of(1, 1, 1)), 1007],
          [message(name, 1, Uint8Array.of(1, 2, 3, 1, 123)), 1007], [message(name, 5, Uint8Array.of(255)), 1007]
        ]
        for (const [data, code] of junk) {
          const bad = await connect(name)
          await synced(bad)
          bad.sockets[0].send(data)
          await closed(bad, code)
          bad.text.insert(bad.text.length, '!') // It comes back by itself.
          await same([bad, other])
          await saved(bad)
          bad.close()
        }
        assert.equal(other.text.toString(), '!'.repeat(junk.length))
        stayed(other)
      })
    })
  }

  test('version 4: providers of one document share a socket', async () => {
    const name = newName()
    const a = await hocuspocus('4', server.address, name, { sessionAwareness: true })
    const b = await hocuspocus('4', server.address, name, { sessionAwareness: true, on: a })
    const other = await hocuspocus('3', server.address, name)
    await synced(a, b, other)
    a.text.insert(0, 'one')
    await same([a, b, other], 'one')
    b.text.insert(3, ' two')
    await same([a, b, other], 'one two')
    await saved(a, b)
    a.awareness.setLocalState({ user: 'Ada' })
    await until('Ada', () => state(a, b) && state(a, other), () => [...b.awareness.getStates()])
    a.provider.sendStateless('hello')
    await until('the message', () => b.stateless.length > 0 && other.stateless.length > 0)
    a.provider.destroy()
    await until('the end of presence', () => !state(a, b) && !state(a, other), () => [...b.awareness.getStates()])
    b.text.insert(7, ' three')
    await same([b, other], 'one two three')
    stayed(b, other)
  })

  test('version 4: changes that the provider merges are saved', async () => {
    const name = newName()
    const a = await hocuspocus('4', server.address, name, { flushDelay: 20 })
    const b = await hocuspocus('4', server.address, name)
    await synced(a, b)
    await saved(a)
    for (let i = 0; i < 50; i++) a.text.insert(a.text.length, 'x')
    assert.equal(a.provider.unsyncedChanges, 1)
    await same([a, b], 'x'.repeat(50))
    await saved(a)
  })

  test('a ping of the connection is answered', async () => {
    const socket = new WebSocket(`ws://${server.address}/hocuspocus`)
    const pong = await new Promise((resolve, reject) => {
      socket.on('open', () => socket.send(Uint8Array.of(9)))
      socket.on('message', resolve)
      socket.on('close', reject)
      socket.on('error', reject)
    })
    assert.deepEqual([...pong], [10])
    socket.close()
  })

  test('what is saved survives a crash of the server', async () => {
    const fragile = await editor()
    const clients = await Promise.all(versions.map(version => hocuspocus(version, fragile.address, newName())))
    await synced(...clients)
    clients.forEach(({ text }) => text.insert(0, 'kept'))
    await saved(...clients)
    await fragile.kill()
    clients.forEach(({ close }) => close()) // Only the server can know the text.
    await fragile.start()
    const again = await Promise.all(clients.map(({ name }, i) => hocuspocus(versions[i], fragile.address, name)))
    await synced(...again)
    await same(again, 'kept')
  })
})

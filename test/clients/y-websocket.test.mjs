// What y-websocket does with the editor when everybody is let in.
import { describe, test } from 'node:test'
import * as awarenessProtocol from 'y-protocols/awareness'
import {
  assert, closed, converged, editor, message, network, newName, random, same, state, stayed, synced, until, yWebsocket, Y
} from './harness.mjs'

const server = await editor()

// presences are what a socket was told of, in the order of the messages; the signs of life have none.
const presences = socket => socket.received.filter(data => data[0] === 1 && data.length > 3)

describe('y-websocket', { concurrency: true }, () => {
  for (const version of ['2', '3']) {
    const connect = (name, options) => yWebsocket(version, options?.through ?? server.address, name, options)

    describe(`y-websocket ${version}`, { concurrency: 8 }, () => {
      test('what several clients type at once ends as the same text everywhere, and at who comes later', async () => {
        const name = newName()
        const clients = await Promise.all(['a', 'b', 'c', 'd'].map(() => connect(name)))
        await synced(...clients)
        for (let i = 0; i < 60; i++) {
          clients.forEach(({ text }, k) => {
            text.insert(Math.floor(Math.random() * (text.length + 1)), 'abcd'[k])
            if (i % 10 === 9) text.delete(Math.floor(Math.random() * text.length), 1)
          })
          if (i % 7 === 0) await new Promise(setImmediate)
        }
        const text = await converged(...clients)
        const late = await connect(name)
        await synced(late)
        assert.equal(late.text.toString(), text)
        stayed(...clients, late)
      })

      test('all types of Yjs arrive, and subdocuments are documents of their own', async () => {
        const name = newName()
        const [a, b] = [await connect(name), await connect(name)]
        await synced(a, b)
        const element = new Y.XmlElement('paragraph')
        const subdocument = new Y.Doc()
        a.doc.transact(() => {
          a.doc.getMap('map').set('deep', new Y.Array())
          a.doc.getMap('map').get('deep').push([1, 'two', { three: [3] }, Uint8Array.of(4)])
          a.doc.getXmlFragment('xml').push([element])
          element.setAttribute('align', 'left')
          a.text.insert(0, 'bold', { bold: true })
          a.doc.getMap('map').set('chapter', subdocument)
        })
        await until('the subdocument', () => b.doc.getMap('map').has('chapter'), () => b.doc.getMap('map').toJSON())
        assert.deepEqual(b.doc.getMap('map').get('deep').toJSON(), [1, 'two', { three: [3] }, Uint8Array.of(4)])
        assert.equal(b.doc.getXmlFragment('xml').toString(), '<paragraph align="left"></paragraph>')
        assert.deepEqual(b.text.toDelta(), [{ insert: 'bold', attributes: { bold: true } }])

        const theirs = b.doc.getMap('map').get('chapter')
        assert.equal(theirs.guid, subdocument.guid)
        const [mine, other] = [
          await connect(`acme/${subdocument.guid}`, { doc: subdocument }), await connect(`acme/${theirs.guid}`, { doc: theirs })
        ]
        await synced(mine, other)
        mine.text.insert(0, 'in the chapter')
        await same([mine, other], 'in the chapter')
        assert.equal(b.text.toString(), 'bold')
      })

      test('edits made while the connection was cut are merged after it is back', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const [a, b] = [await connect(name, { through: way.address }), await connect(name)]
        await synced(a, b)
        a.text.insert(0, 'before ')
        await same([a, b], 'before ')
        way.blocked = true
        way.cut()
        await until('the client to notice', () => !a.provider.wsconnected, () => a.codes())
        a.text.insert(a.text.length, 'offline')
        b.text.insert(b.text.length, 'online')
        way.blocked = false
        await until('both edits', () => a.text.length === 20 && b.text.length === 20, () => [a, b].map(c => `${c.text}`))
        assert.match(await same([a, b]), /^before (offlineonline|onlineoffline)$/)
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

      test('presence is shared, told to who comes later, and ends with its client or its connection', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const [a, b] = [await connect(name, { through: way.address }), await connect(name)]
        await synced(a, b)
        a.awareness.setLocalStateField('user', { name: 'Ada' })
        const ada = at => until('Ada', () => state(a, at)?.user?.name === 'Ada', () => [...at.awareness.getStates()])
        const nobody = at => until('nobody', () => !state(a, at), () => [...at.awareness.getStates()])
        await ada(b)
        const late = await connect(name)
        await ada(late)
        way.blocked = true
        way.cut()
        await nobody(b)
        way.blocked = false
        await ada(b)
        a.awareness.setLocalState(null)
        await nobody(b)
        a.awareness.setLocalState({ user: { name: 'Ada' } })
        await ada(b)
        a.close()
        await nobody(b)
        await nobody(late)
        stayed(b, late)
      })

      test('a question for presence is answered with everybody', async () => {
        const name = newName()
        const [a, b] = [await connect(name), await connect(name)]
        await synced(a, b)
        a.awareness.setLocalState({ user: 'Ada' })
        await until('Ada', () => state(a, b)?.user === 'Ada', () => [...b.awareness.getStates()])
        const before = presences(b.sockets[0]).length
        b.provider.ws.send(message(3))
        await until('the answer', () => presences(b.sockets[0]).length > before)
        const heard = new awarenessProtocol.Awareness(new Y.Doc())
        awarenessProtocol.applyAwarenessUpdate(heard, presences(b.sockets[0]).at(-1).subarray(2), null)
        assert.equal(heard.getStates().get(a.doc.clientID)?.user, 'Ada')
        heard.destroy()
      })

      test('idle connections stay and stay present; who falls silent is gone after 30 seconds', async () => {
        const [name, way] = [newName(), await network(server.address)]
        const alone = await connect(newName())
        alone.awareness.setLocalState(null)
        const [idle, silent, watching] =
          [await connect(name), await connect(name, { through: way.address }), await connect(name)]
        await synced(alone, idle, silent, watching)
        silent.awareness.setLocalState({ user: 'Sil' })
        idle.awareness.setLocalState({ user: 'Ida' })
        await until('both', () => state(silent, watching) && state(idle, watching), () => [...watching.awareness.getStates()])
        const start = Date.now()
        way.freeze()
        await until('the silent one to be gone', () => !state(silent, watching), () => [...watching.awareness.getStates()], 60)
        // A provider that has heard nothing for 30 seconds takes its connection for dead, which it looks at every 3.
        await until('34 seconds', () => Date.now() - start > 34_000, undefined, 60)
        assert.equal(state(idle, watching)?.user, 'Ida')
        stayed(alone, idle, watching)
      })

      test('a large document arrives whole, and compressed where the client knows how to', async () => {
        const name = newName()
        const doc = new Y.Doc()
        const text = doc.getText('text')
        doc.transact(() => {
          for (let i = 0; i < 20_000; i++) {
            text.insert((i * 7919) % (text.length + 1), String.fromCharCode(97 + i % 26))
            if (i % 5 === 0) text.delete((i * 104_729) % text.length, 1)
          }
          text.insert(text.length, random(3 << 20))
          doc.getText('prose').insert(0, 'all work and no play '.repeat(100_000))
        })
        const a = await connect(name, { doc })
        await synced(a)
        const [b, plain] = [await connect(name), await connect(name, { deflate: false })]
        await same([a, b, plain], text.toString())
        assert.equal(b.doc.getText('prose').length, 2_100_000)
        const read = ({ sockets: [socket] }) => [socket.extensions, socket._socket.bytesRead]
        const [[offered, compressed], [none, whole]] = [read(b), read(plain)]
        assert.match(offered, /permessage-deflate/)
        assert.equal(none, '')
        assert.ok(compressed < whole - 1_000_000, `${compressed} bytes compressed, ${whole} uncompressed`)
      })

      test('what is no message closes the connection with 1007, text with 1003, and disturbs nobody else', async () => {
        const name = newName()
        const other = await connect(name)
        await synced(other)
        other.text.insert(0, 'kept')
        for (const [junk, code] of [
          ['text', 1003], [Uint8Array.of(), 1007], [message(9), 1007], [message(0, 7), 1007],
          [message(0, 0, Uint8Array.of(255, 255)), 1007], [message(0, 2, Uint8Array.of(1, 1, 1)), 1007],
          [Uint8Array.of(0, 2, 200, 1, 1), 1007], [message(1, Uint8Array.of(1, 2, 3, 1, 123)), 1007],
          [message(2, 1, 'token', 1), 1007]
        ]) {
          const bad = await connect(name)
          await synced(bad)
          bad.provider.ws.send(junk)
          await closed(bad, code)
          bad.text.insert(bad.text.length, '!')
          await synced(bad) // It has come back by itself.
          await same([bad, other])
          bad.close()
        }
        assert.equal(other.text.toString(), 'kept!!!!!!!!!')
        stayed(other)
      })
    })
  }
})

// What clients notice of a server that stops and comes back.
import { describe, test } from 'node:test'
import {
  assert, closed, converged, editor, hocuspocus, newName, same, saved, synced, until, WebSocket, yWebsocket
} from './harness.mjs'

const connects = {
  'y-websocket 2': (...args) => yWebsocket('2', ...args),
  'y-websocket 3': (...args) => yWebsocket('3', ...args),
  'hocuspocus 2': (...args) => hocuspocus('2', ...args),
  'hocuspocus 3': (...args) => hocuspocus('3', ...args),
  'hocuspocus 4': (...args) => hocuspocus('4', ...args)
}

// refused is the status with which a server answers a WebSocket.
const refused = url => new Promise(resolve => {
  const socket = new WebSocket(url)
  socket.on('open', () => { socket.terminate(); resolve('open') })
  socket.on('unexpected-response', (_, { statusCode }) => { socket.terminate(); resolve(statusCode) })
  socket.on('error', () => resolve('error'))
})

describe('restart', { concurrency: true }, () => {
  test('a server that stops lets its clients go with 1012; they come back and nothing is lost', async () => {
    const server = await editor({ flags: ['--drain-over=2s'] })
    const name = newName()
    const clients = await Promise.all(Object.values(connects).map(connect => connect(server.address, name)))
    await synced(...clients)
    let typed = 0
    const typing = setInterval(() => clients.forEach(({ text }, i) => { text.insert(text.length, `${i}`); typed++ }), 10)
    await until('some typing', () => typed > 200)
    const stopped = server.stop()
    await until('new connections to be refused', async () => {
      const answers = [await refused(`ws://${server.address}/collab/acme/new`), await refused(`ws://${server.address}/hocuspocus`)]
      return answers.every(answer => answer === 503)
    })
    await stopped
    for (const c of clients) await closed(c, 1012)
    for (const c of clients) assert.equal(c.codes()[0], 1012)
    await until('typing while nobody serves', (n => () => typed > n + 100)(typed))
    await server.start()
    await until('typing after the restart', (n => () => typed > n + 200)(typed))
    clearInterval(typing)
    await until('everything', () => clients.every(({ text }) => text.length === typed), () => [typed, ...clients.map(c => c.text.length)])
    await converged(...clients)
    await saved(...clients.slice(2))
    const late = await yWebsocket('3', server.address, name)
    await same([late, ...clients])
  })

  for (const [title, connect] of Object.entries(connects)) {
    test(`${title}: what was written while the server had crashed is merged`, async () => {
      const server = await editor({ flags: ['--drain-over=10ms'] })
      const name = newName()
      const [a, b] = [await connect(server.address, name), await connect(server.address, name)]
      await synced(a, b)
      a.text.insert(0, 'before ')
      await same([a, b], 'before ')
      await server.kill()
      await until('the clients to notice', () => a.codes().length > 0 && b.codes().length > 0)
      a.text.insert(a.text.length, 'one')
      b.text.insert(b.text.length, 'two')
      await server.start()
      await until('both', () => a.text.length === 13 && b.text.length === 13, () => [`${a.text}`, `${b.text}`])
      assert.match(await same([a, b]), /^before (onetwo|twoone)$/)
    })
  }
})

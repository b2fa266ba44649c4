// What clients notice of several pods: documents whose owner is another pod, moves or dies, a pod that is replaced, stores
// that do not answer, and a document that is deleted while it is open.
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  assert, closed, converged, editor, folder, freePort, hocuspocus, network, newName, same, saved, state, stayed, synced,
  until, yWebsocket
} from './harness.mjs'
import { postgres, redis } from './stores.mjs'

const shards = 16
const file = join(folder, 'shardmap.json')
const [database, log] = await Promise.all([postgres(), redis()])
const pods = {}
let epoch = 0
let owner

// assign gives all shards to a pod, as the operator does, and takes pods that are gone out of the map.
function assign (name) {
  const previousOwner = pods[owner]?.gone === false ? owner : undefined
  owner = name
  epoch++
  const members = Object.entries(pods).filter(([, { gone }]) => !gone).map(([name, { peer }]) => ({ name, uid: name, address: peer }))
  const spec = { members, shards: Array.from({ length: shards }, (_, shard) => ({ shard, owner, previousOwner, epoch })) }
  writeFileSync(file + '.next', JSON.stringify({ spec }))
  renameSync(file + '.next', file)
}

async function start (name) {
  const peer = `127.0.0.1:${await freePort()}`
  pods[name] = { peer, gone: false }
  Object.assign(pods[name], await editor({ flags: [
    `--shardmap-file=${file}`, '--pod-name', name, '--pod-uid', name, '--peer-listen', peer, `--shards=${shards}`,
    '--redis-address', log.address, '--postgres-url', database.url, '--drain-over=500ms', '--drain-timeout=5s', '--fan-out=3'
  ] }))
}
pods.a = { peer: '127.0.0.1:1', gone: false }
assign('a') // A pod is ready when it knows a map.
await Promise.all(['a', 'b', 'c'].map(start))
assign('a')

// everybody connects each version of each provider, to the pods in turn.
const everybody = (name, names = ['a', 'b', 'c']) => Promise.all([
  () => yWebsocket('2', pods[names[0 % names.length]].address, name),
  () => yWebsocket('3', pods[names[1 % names.length]].address, name),
  () => hocuspocus('2', pods[names[2 % names.length]].address, name),
  () => hocuspocus('3', pods[names[3 % names.length]].address, name),
  () => hocuspocus('4', pods[names[4 % names.length]].address, name)
].map(connect => connect()))

// type lets clients type until stop is called, which returns how much they have typed together.
function type (clients) {
  const typist = { typed: 0 }
  const timer = setInterval(() => clients.forEach(({ text }, i) => {
    text.insert(Math.floor(Math.random() * (text.length + 1)), String.fromCharCode(97 + i))
    typist.typed++
  }), 10)
  typist.more = async (n = 100, from = typist.typed) => until('some typing', () => typist.typed >= from + n)
  typist.stop = () => { clearInterval(timer); return typist.typed }
  return typist
}

// whole waits until clients have everything that was typed, and somebody new finds it at every pod.
async function whole (clients, typed) {
  await until(`all of ${typed} characters`, () => clients.every(({ text }) => text.length === typed),
    () => clients.map(({ text, codes }) => [text.length, codes()]))
  const text = await converged(...clients)
  await saved(...clients.filter(({ provider }) => 'hasUnsyncedChanges' in provider))
  for (const pod of Object.values(pods)) {
    if (pod.gone) continue
    const late = await yWebsocket('3', pod.address, clients[0].provider.roomname ?? clients[0].name)
    await synced(late)
    assert.equal(late.text.toString(), text)
    late.close()
  }
}

describe('pods', () => {
  test('edits, presence and stateless messages reach the clients of all pods', async () => {
    const clients = await everybody(newName())
    await synced(...clients)
    const typist = type(clients)
    await typist.more(500)
    await whole(clients, typist.stop())
    const [a, , , c, b] = clients
    for (const [of, at] of [[a, b], [b, a], [c, a]]) {
      of.awareness.setLocalState({ user: of.doc.clientID })
      await until('presence', () => state(of, at)?.user === of.doc.clientID, () => [...at.awareness.getStates()])
    }
    b.provider.sendStateless('hello')
    await until('the message', () => c.stateless.includes('hello'), () => c.stateless)
    b.close()
    await until('the end of presence', () => !state(b, a) && !state(b, c), () => [...a.awareness.getStates()])
    stayed(...clients.slice(0, 4))
  })

  test('connections stay open and nothing is lost while the owner changes again and again', async () => {
    const clients = await everybody(newName())
    await synced(...clients)
    const typist = type(clients)
    for (const next of ['b', 'c', 'a', 'c', 'b']) {
      await typist.more()
      assign(next)
      await until(`${next} to own the shards`, async () => await pods[next].metric('collab_editor_shards') === shards)
    }
    await typist.more()
    await whole(clients, typist.stop())
    stayed(...clients)
  })

  test('presence survives changes of the owner', async () => {
    const clients = await everybody(newName())
    await synced(...clients)
    clients[0].awareness.setLocalState({ user: 'Ada' })
    const seen = async what => {
      for (const c of clients.slice(1)) {
        await until(what, () => state(clients[0], c)?.user === 'Ada', () => [...c.awareness.meta], 10)
      }
    }
    await seen('presence')
    for (const next of ['a', 'c', 'b']) {
      assign(next)
      await until(`${next} to own the shards`, async () => await pods[next].metric('collab_editor_shards') === shards)
    }
    // What was told of the old owner is told before what is asked of the next one.
    clients[1].text.insert(0, 'x')
    await same(clients, 'x')
    await seen('presence after the changes')
    stayed(...clients)
  })

  test('SyncStatus waits for the stores: while none answers, edits are seen and not saved', async () => {
    const name = newName()
    const clients = [await hocuspocus('2', pods.b.address, name), await hocuspocus('3', pods.c.address, name),
      await hocuspocus('4', pods.c.address, name), await yWebsocket('3', pods.b.address, name)]
    await synced(...clients)
    await saved(...clients.slice(0, 3))
    const failures = await pods[owner].metric('collab_editor_storage_failures_total')
    log.freeze()
    database.freeze()
    try {
      clients.slice(0, 3).forEach(({ text }, i) => text.insert(0, `${i}`))
      await until('the edits to be seen', () => clients.every(({ text }) => text.length === 3), () => clients.map(c => `${c.text}`))
      await until('the stores to be tried in vain', async () =>
        await pods[owner].metric('collab_editor_storage_failures_total') > failures)
      assert.deepEqual(clients.slice(0, 3).map(({ provider }) => provider.hasUnsyncedChanges), [true, true, true])
    } finally {
      log.thaw()
      database.thaw()
    }
    await saved(...clients.slice(0, 3))
    await converged(...clients)
    stayed(...clients)
  })

  test('a document that is deleted while it is open is closed for everybody, and for who comes', async () => {
    const [name, other] = [newName(), newName()]
    const clients = await everybody(name)
    const beside = await hocuspocus('4', pods.b.address, other, { on: clients[4] })
    await synced(...clients, beside)
    clients[0].text.insert(0, 'x')
    await same(clients, 'x')
    await until('the record', () => database.query(`SELECT count(*) FROM documents WHERE document = '${name}'`) === '1')
    database.query(`UPDATE documents SET deleted = now(), version = version + 1 WHERE document = '${name}'`)
    assign(owner === 'c' ? 'a' : 'c') // The next owner reads it anew.
    for (const c of clients.slice(0, 2)) await closed(c, 4404)
    assert.deepEqual(clients[1].final, [4404])
    for (const c of clients.slice(2)) {
      await until('the denial', () => c.denied.length > 0, () => c.closes)
      assert.equal(c.denied[0], 'the document is deleted')
      assert.equal(c.provider.isAuthenticated, false)
    }
    for (const c of clients.slice(3)) await until('the end', () => c.closes.includes('the document is deleted'), () => c.closes)
    const late = [await yWebsocket('3', pods.a.address, name), await hocuspocus('4', pods.b.address, name)]
    await closed(late[0], 4404)
    await until('the denial', () => late[1].denied.includes('the document is deleted'), () => late[1].denied)
    beside.text.insert(0, 'y') // Another document on the same connection.
    await saved(beside)
    stayed(clients[4])
    for (const c of [...clients, ...late]) c.close()

    database.query(`UPDATE documents SET deleted = NULL, version = version + 1 WHERE document = '${name}'`)
    const restored = await yWebsocket('3', pods.b.address, name)
    await same([restored], 'x')
  })

  test('a pod that is replaced lets its clients go with 1012 to another pod; those of others stay', async () => {
    assign('a')
    const name = newName()
    const way = await network(pods.a.address)
    const leaving = [await yWebsocket('2', way.address, name), await yWebsocket('3', way.address, name),
      await hocuspocus('3', way.address, name), await hocuspocus('4', way.address, name)]
    const staying = [await yWebsocket('3', pods.b.address, name), await hocuspocus('4', pods.c.address, name)]
    const clients = [...leaving, ...staying]
    await synced(...clients)
    const typist = type(clients)
    await typist.more()
    const stopped = pods.a.stop()
    await until('the pod not to be ready', async () => (await fetch(pods.a.internal + '/readyz')).status === 503)
    way.to = pods.b.address // Nobody new is sent to a pod that is not ready.
    assign('b')
    await stopped
    pods.a.gone = true
    for (const c of leaving) await closed(c, 1012)
    await typist.more()
    await whole(clients, typist.stop())
    for (const c of leaving) assert.deepEqual(c.codes(), [1012])
    stayed(...staying)
  })

  test('when the owner dies connections to other pods stay open, and nothing that anybody has typed is lost', async () => {
    await start('d')
    assign('d')
    const name = newName()
    const way = await network(pods.d.address)
    const unlucky = await hocuspocus('4', way.address, name)
    const staying = await everybody(name, ['b', 'c'])
    const clients = [unlucky, ...staying]
    await synced(...clients)
    const typist = type(clients)
    await typist.more()
    way.to = pods.c.address
    pods.d.gone = true
    await pods.d.kill()
    await typist.more(50)
    assign('c')
    await typist.more()
    await whole(clients, typist.stop())
    stayed(...staying)
    assert.ok(unlucky.sockets.length > 1, 'the pod that died kept a connection')
  })
})

// Who may do what, and for how long: tokens and their renewal, revocation, sessions, origins, and the permission webhook.
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import {
  assert, atEnd, closed, editor, everything, hocuspocus, keys, message, newName, reading, same, saved, secretly, state,
  stayed, synced, token, until, warnings, yWebsocket
} from './harness.mjs'

const origin = 'https://app.example.com'
const server = await editor({
  flags: ['--auth-secret-dir', keys, '--allowed-origins', origin, '--insecure-cookies']
})

// Tokens are good for ten seconds longer than they say, because clocks differ.
const short = { seconds: 10 }
const shortLife = 20_000
// The service promises two seconds from its answer on; a machine that tests may be busy.
const revocation = 5_000

let users = 0
const newUser = () => `user-${++users}`

// post calls the endpoints of sessions.
async function post (path, bearer, body = {}) {
  const response = await fetch(`http://${server.address}/auth/${path}`, {
    method: 'POST', body: JSON.stringify(body), headers: { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' }
  })
  const text = await response.clone().text()
  assert.ok(response.ok, `${path}: ${response.status} ${text}`)
  for (const [name, value] of Object.entries(text && JSON.parse(text))) if (/token$/i.test(name)) secretly(value)
  for (const cookie of response.headers.getSetCookie()) secretly(cookie.split(';')[0].split('=')[1])
  return response
}
const revoke = body => post('revoke', token('admin', everything, { collab_admin: true }), body)

// renewal is what a y-websocket application sends to renew its token, as docs/protocol.md has it.
const renewal = text => message(2, 1, text)

// told says whether a y-websocket client's first socket received a message about authentication.
const told = ({ sockets: [socket] }, kind) => socket?.received.some(([type, second]) => type === 2 && second === kind)
const denied = 0; const authenticated = 2; const expires = 3

// asked says whether Hocuspocus's provider was asked for its token.
const asked = ({ sockets: [socket], name }) =>
  socket?.received.some(data => Buffer.from(data).equals(Buffer.from(message(name, 2, 0))))

describe('tokens', { concurrency: true }, () => {
  for (const version of ['2', '3']) {
    const connect = (name, text, options) =>
      yWebsocket(version, server.address, name, { ...text !== undefined && { params: { token: text } }, ...options })

    describe(`y-websocket ${version}`, { concurrency: 16 }, () => {
      test('a token comes as a parameter, in a header or in a cookie', async () => {
        const name = newName()
        const login = await post('login', token(newUser(), everything))
        const cookie = login.headers.getSetCookie().map(text => text.split(';')[0]).find(text => text.startsWith('collab-access='))
        const clients = [
          await connect(name, token(newUser(), everything)),
          await connect(name, undefined, { headers: { Authorization: `Bearer ${token(newUser(), everything)}` } }),
          await connect(name, undefined, { headers: { Cookie: cookie, Origin: `http://${server.address}` } }),
          await connect(name, (await login.json()).socketToken)
        ]
        await synced(...clients)
        clients.forEach(({ text }, i) => text.insert(0, `${i}`))
        await until('all to have written', () => clients.every(({ text }) => text.length === clients.length))
        await same(clients)
        stayed(...clients)
      })

      test('without a valid token the connection is closed with 4401, without access with 4403', async () => {
        const good = token('eve', everything)
        for (const [text, code] of [
          [undefined, 4401], ['nonsense', 4401], [token('eve', everything, { seconds: -60 }), 4401],
          [good.slice(0, -4) + 'AAAA', 4401], [token('eve', { 'other/*': 'write' }), 4403], [token('eve', {}), 4403]
        ]) {
          const c = await connect(newName(), text)
          await closed(c, code)
          assert.equal(c.provider.synced, false)
          if (version === '3') assert.deepEqual(c.final, [code])
          else await until('another attempt', () => c.codes().length > 1, c.codes)
          c.close()
        }
      })

      test('a new token in the parameters opens what an old one could not', async () => {
        const c = await connect(newName(), token('eve', everything, { seconds: -60 }))
        await closed(c, 4401)
        c.provider.params = { token: token('eve', everything) }
        c.provider.connect()
        await synced(c)
      })

      test('who may only read sees everything and changes nothing', async () => {
        const name = newName()
        const writer = await connect(name, token(newUser(), everything))
        const reader = await connect(name, token(newUser(), reading))
        await synced(writer, reader)
        writer.text.insert(0, 'allowed')
        writer.awareness.setLocalState({ user: 'Ada' })
        await same([writer, reader], 'allowed')
        await until('presence', () => state(writer, reader)?.user === 'Ada', () => [...reader.awareness.getStates()])
        reader.text.insert(0, 'forbidden ')
        await until('the refusal', () => told(reader, denied))
        assert.ok(warnings.some(text => text.includes('you may only read this document')), warnings.join())
        // Whatever the refused change did would be done before the next one.
        writer.text.insert(7, '!')
        const late = await connect(name, token(newUser(), reading))
        await until('the next change', () => reader.text.toString() === 'forbidden allowed!', () => `${reader.text}`)
        await same([writer, late], 'allowed!')
        stayed(writer, reader, late)
      })

      test('an edit that a reader made offline is not taken when it connects', async () => {
        const name = newName()
        const writer = await connect(name, token(newUser(), everything))
        const reader = await connect(name, token(newUser(), reading), { connect: false })
        reader.text.insert(0, 'forbidden')
        reader.provider.connect()
        await synced(writer, reader)
        writer.text.insert(0, 'allowed')
        await until('the edit', () => reader.text.toString().includes('allowed'), () => `${reader.text}`)
        const late = await connect(name, token(newUser(), reading))
        await same([writer, late], 'allowed')
      })

      test('a client is warned before its token expires, and closed with 4401 when it does', async () => {
        const c = await connect(newName(), token(newUser(), everything, short))
        await synced(c)
        await until('the warning', () => told(c, expires))
        assert.deepEqual(c.codes(), [])
        const [warning] = c.sockets[0].received.filter(([type, second]) => type === 2 && second === expires)
        assert.ok(warning.length === 3 && warning[2] <= 10, `the warning ${[...warning]}`)
        await closed(c, 4401)
        assert.match(c.sockets[0].closed.reason, /expired/)
        c.close()
      })

      test('a token that is renewed over the open connection keeps it open', async () => {
        const user = newUser()
        const c = await connect(newName(), token(user, everything, short))
        const start = Date.now()
        await until('the warning', () => told(c, expires))
        c.provider.ws.send(renewal(token(user, everything)))
        await until('the answer', () => told(c, authenticated))
        await until('the old token to have expired', () => Date.now() - start > shortLife + 1000)
        stayed(c)
        const other = await connect(c.provider.roomname, token(newUser(), everything))
        await synced(other)
        c.text.insert(0, 'still here')
        await same([c, other], 'still here')
      })

      test('a renewal with a token that is not valid closes with 4401, with another user\'s or a lesser one with 4403', async () => {
        const user = newUser()
        for (const [text, code] of [
          ['nonsense', 4401], [token(user, everything, { seconds: -60 }), 4401], [token(newUser(), everything), 4403],
          [token(user, reading), 4403], [token(user, { 'other/*': 'write' }), 4403]
        ]) {
          const c = await connect(newName(), token(user, everything))
          await synced(c)
          c.provider.ws.send(renewal(text))
          await closed(c, code)
          c.close()
        }
      })

      test('who may read may write after a renewal that says so', async () => {
        const [name, user] = [newName(), newUser()]
        const c = await connect(name, token(user, reading))
        const other = await connect(name, token(newUser(), reading))
        await synced(c, other)
        c.provider.ws.send(renewal(token(user, everything)))
        await until('the answer', () => told(c, authenticated))
        c.text.insert(0, 'mine')
        await same([c, other], 'mine')
        stayed(c, other)
      })

      test('revoking a user closes its connections with 4401 within two seconds, and nobody else\'s', async () => {
        const [name, user] = [newName(), newUser()]
        const text = token(user, everything)
        const [a, b, other] =
          [await connect(name, text), await connect(newName(), text), await connect(name, token(newUser(), everything))]
        await synced(a, b, other)
        await revoke({ user })
        const start = Date.now()
        await Promise.all([closed(a, 4401), closed(b, 4401)])
        assert.ok(Date.now() - start < revocation, `it took ${Date.now() - start} ms`)
        assert.match(a.sockets[0].closed.reason, /revoked/)
        const again = await connect(name, text)
        await closed(again, 4401)
        stayed(other)
        for (const c of [a, b, again]) c.close()
      })

      test('ending a session closes its connections', async () => {
        const session = await (await post('login', token(newUser(), everything), { tokens: true })).json()
        const c = await connect(newName(), session.accessToken)
        await synced(c)
        // A socket outlives the token that it was opened with when it is given that of a refreshed session.
        const next = await (await post('refresh', '', { refreshToken: session.refreshToken })).json()
        c.provider.ws.send(renewal(next.socketToken))
        await until('the answer', () => told(c, authenticated))
        stayed(c)
        await post('logout', '', { refreshToken: next.refreshToken })
        await closed(c, 4401)
        c.close()
      })

      test('pages of other origins cannot connect', async () => {
        for (const [from, refused] of [
          ['https://evil.example.com', true], ['null', true], ['https://app.example.com.evil.com', true],
          [origin, false], [`http://${server.address}`, false]
        ]) {
          const c = await connect(newName(), token(newUser(), everything), { headers: { Origin: from } })
          if (refused) {
            await until('the refusal', () => c.sockets.some(({ failure }) => failure?.includes('403')), () => [from, c.codes()])
            assert.equal(c.provider.synced, false)
          } else {
            await synced(c)
          }
          c.close()
        }
      })
    })
  }

  for (const version of ['2', '3', '4']) {
    const connect = (name, text, options) => hocuspocus(version, server.address, name, { token: text, ...options })

    describe(`hocuspocus ${version}`, { concurrency: 16 }, () => {
      test('a token is accepted, from a text or a function, and the provider is told what it allows', async () => {
        const name = newName()
        const writer = await connect(name, token(newUser(), everything))
        const reader = await connect(name, async () => token(newUser(), reading))
        const commenter = await connect(name, () => token(newUser(), { 'acme/*': 'comment' }))
        await synced(writer, reader, commenter)
        await until('all to be told', () => [writer, reader, commenter].every(c => c.granted.length > 0))
        assert.deepEqual([writer.granted, reader.granted, commenter.granted], [['read-write'], ['readonly'], ['readonly']])
        assert.ok(writer.provider.isAuthenticated && reader.provider.isAuthenticated)
        stayed(writer, reader, commenter)
      })

      test('without a token of its own a document is opened with that of the connection', async () => {
        const text = token(newUser(), everything)
        const clients = [
          await connect(newName(), null, { query: `?token=${text}` }),
          await connect(newName(), '', { headers: { Authorization: `Bearer ${text}` } })
        ]
        await synced(...clients)
        clients.forEach(c => c.text.insert(0, 'x'))
        await saved(...clients)
      })

      test('a document is denied with a reason, and the others on the socket go on', async () => {
        const user = newUser()
        const good = await connect(newName(), token(user, everything))
        await synced(good)
        for (const [text, reason] of [
          ['nonsense', /token/], [token(user, everything, { seconds: -60 }), /expired/],
          [token(user, { 'other/*': 'write' }), /may not open/],
          ...version === '2' ? [] : [[null, /token/]] // Version 2 says nothing when it has no token, and waits.
        ]) {
          const bad = await connect(newName(), text, { on: good })
          bad.text.insert(0, 'never')
          await until('the denial', () => bad.denied.length > 0, () => bad.granted)
          assert.match(bad.denied[0], reason)
          assert.deepEqual([bad.provider.synced, bad.granted, bad.provider.isAuthenticated], [false, [], false])
          const other = await connect(bad.name, token(newUser(), everything))
          await synced(other)
          assert.equal(other.text.toString(), '')
        }
        good.text.insert(0, 'x')
        await saved(good)
        stayed(good)
      })

      test('who may only read changes nothing, has nothing unsaved before it tries, and is told that a change is not saved', async () => {
        const name = newName()
        const writer = await connect(name, token(newUser(), everything))
        await synced(writer)
        writer.text.insert(0, 'one two')
        writer.text.delete(0, 4)
        await saved(writer)
        const reader = await connect(name, token(newUser(), reading))
        await same([writer, reader], 'two')
        await saved(reader)
        reader.text.insert(0, 'forbidden ')
        const refused = Buffer.concat([message(name, 8), Uint8Array.of(0)])
        await until('the refusal', () => reader.sockets[0].received.some(data => refused.equals(Buffer.from(data))))
        assert.ok(reader.provider.hasUnsyncedChanges)
        writer.text.insert(3, '!')
        const late = await connect(name, token(newUser(), reading))
        await same([writer, late], 'two!')
        // The reader sees on, with what it has made of its own copy.
        await until('the next edit', () => reader.text.toString() === 'forbidden two!', () => `${reader.text}`)
        assert.deepEqual(reader.denied, [])
        assert.ok(reader.provider.hasUnsyncedChanges)
        stayed(writer, reader, late)
      })

      test('who may comment is seen, who may only read is not', async () => {
        const name = newName()
        const [writer, commenter, reader] = await Promise.all(['write', 'comment', 'read'].map(access =>
          connect(name, token(newUser(), { 'acme/*': access }))))
        await synced(writer, commenter, reader)
        reader.awareness.setLocalState({ user: 'reader' })
        // What the reader said is looked at before it is synchronized again.
        reader.provider.forceSync()
        await saved(reader)
        commenter.awareness.setLocalState({ user: 'commenter' })
        for (const c of [writer, reader]) await until('presence', () => state(commenter, c)?.user === 'commenter')
        assert.equal(state(reader, writer), undefined)
        stayed(writer, commenter, reader)
      })

      test('who may comment sends stateless messages, who may read does not', async () => {
        const name = newName()
        const [writer, commenter, reader] = await Promise.all(['write', 'comment', 'read'].map(access =>
          connect(name, token(newUser(), { 'acme/*': access }))))
        await synced(writer, commenter, reader)
        reader.provider.sendStateless('from the reader')
        // The reader's own answer comes after its message was looked at.
        reader.provider.forceSync()
        await saved(reader)
        commenter.provider.sendStateless('from the commenter')
        for (const c of [writer, reader]) await until('the message', () => c.stateless.length > 0)
        assert.deepEqual([writer.stateless, reader.stateless, commenter.stateless],
          [['from the commenter'], ['from the commenter'], []])
        commenter.text.insert(0, 'forbidden')
        commenter.provider.sendStateless('after the change')
        await until('the message', () => writer.stateless.includes('after the change'))
        assert.equal(writer.text.toString(), '')
      })

      test('the provider is asked for a new token before the old one expires', async () => {
        const user = newUser()
        let given = 0
        const c = await connect(newName(), () => token(user, everything, given++ === 0 ? short : {}))
        const start = Date.now()
        await synced(c)
        await until('the question', () => asked(c), () => c.sockets[0].received.filter(data => data.length < 40).map(String))
        if (version === '2') {
          // It does not know the question, and after 4401 it waits for the application.
          await closed(c, 4401)
          c.socket.connect()
          await until('another connection', () => c.sockets.length === 2 && c.granted.length === 2, () => c.granted)
          assert.equal(given, 2)
        } else {
          await until('a new token', () => given === 2 && c.granted.length === 2, () => [given, c.granted])
          await until('the old token to have expired', () => Date.now() - start > shortLife + 1000)
          stayed(c)
        }
        await synced(c)
        c.text.insert(0, 'still here')
        await saved(c)
      })

      test('a provider that gives no new token is closed with 4401', async () => {
        const text = token(newUser(), everything, short)
        const c = await connect(newName(), text)
        await synced(c)
        await closed(c, 4401)
        if (version === '2') c.socket.connect()
        await until('the denial of the expired token', () => c.denied.length > 0, () => c.granted)
        assert.match(c.denied[0], /expired/)
        c.close()
      })

      test('revoking a user closes its connections with 4401 within two seconds', async () => {
        const user = newUser()
        const [c, other] = [await connect(newName(), token(user, everything)), await connect(newName(), token(newUser(), everything))]
        await synced(c, other)
        await revoke({ user })
        const start = Date.now()
        await closed(c, 4401)
        assert.ok(Date.now() - start < revocation, `it took ${Date.now() - start} ms`)
        if (version === '2') c.socket.connect()
        await until('the denial of the revoked token', () => c.denied.length > 0, () => c.granted)
        stayed(other)
        c.close()
      })

      test('pages of other origins cannot connect', async () => {
        const c = await connect(newName(), token(newUser(), everything), { headers: { Origin: 'https://evil.example.com' } })
        await until('the refusal', () => c.sockets.some(({ failure }) => failure?.includes('403')), () => c.codes())
        const d = await connect(newName(), token(newUser(), everything), { headers: { Origin: origin } })
        await synced(d)
        c.close()
      })
    })
  }

  test('the permission webhook decides; while it cannot be asked clients are to come back', async () => {
    const questions = []
    const application = createServer((request, response) => {
      let body = ''
      request.on('data', data => { body += data }).on('end', () => {
        const question = JSON.parse(body)
        questions.push(question)
        if (question.user === 'unknown' && questions.filter(({ user }) => user === 'unknown').length < 3) {
          response.statusCode = 500
          return response.end()
        }
        response.end(JSON.stringify({ access: { rita: 'read', nora: 'none' }[question.user] ?? 'write' }))
      })
    })
    await new Promise(resolve => application.listen(0, '127.0.0.1', resolve))
    atEnd(() => application.close())
    const guarded = await editor({
      flags: ['--auth-secret-dir', keys, '--auth-permission-url', `http://127.0.0.1:${application.address().port}/`]
    })
    const name = newName()
    const connect = user => yWebsocket('3', guarded.address, name, { params: { token: token(user, everything) } })
    const [writer, reader, nobody, unknown] = [
      await connect('wanda'), await hocuspocus('4', guarded.address, name, { token: token('rita', everything) }),
      await connect('nora'), await connect('unknown')
    ]
    await synced(writer, reader)
    writer.text.insert(0, 'x')
    await same([writer, reader], 'x')
    assert.equal(reader.provider.authorizedScope, 'readonly')
    await closed(nobody, 4403)
    await closed(unknown, 1013)
    await synced(unknown) // It came back by itself.
    assert.ok(questions.some(({ document, granted }) => document === name && granted === 'write'), JSON.stringify(questions))
  })
})

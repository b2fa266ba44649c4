// A Redis and a PostgreSQL on loopback, which hack/test/stores.sh installs, for the suites that need several pods.
import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert, atEnd, folder, freePort, run, until } from './harness.mjs'

// server adds to a store what suites do to it: freeze lets it, and the processes that it has begun, be silent until thaw.
function server (started) {
  const { pid } = started.child
  // Each process of PostgreSQL is in a session of its own, so that they are found by their parent.
  const begun = () => readdirSync('/proc').filter(name => /^\d+$/.test(name)).filter(name => {
    try {
      return Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1]) === pid
    } catch {
      return false // It has ended.
    }
  }).map(Number)
  const signal = (processes, name) => {
    for (const one of processes) {
      try {
        process.kill(one, name)
      } catch (error) {
        if (error.code !== 'ESRCH') throw error
      }
    }
  }
  return {
    ...started,
    // The parent first, which then begins no more of them.
    freeze: () => { signal([pid], 'SIGSTOP'); signal(begun(), 'SIGSTOP') },
    thaw: () => { signal(begun(), 'SIGCONT'); signal([pid], 'SIGCONT') }
  }
}

// redis starts a Redis.
export async function redis () {
  const port = await freePort()
  const data = join(folder, 'redis')
  mkdirSync(data)
  const started = run('redis-server', [
    '--port', port, '--bind', '127.0.0.1', '--dir', data, '--appendonly', 'yes', '--appendfsync', 'always', '--save', ''
  ], { detached: true })
  await until('Redis', () => started.log.includes('Ready to accept connections') || started.code !== undefined,
    () => started.log)
  assert.equal(started.code, undefined, started.log)
  return { ...server(started), address: `127.0.0.1:${port}` }
}

// postgres starts a PostgreSQL. It does not run as root: where the suites do, it runs as the user of Debian's package.
export async function postgres () {
  const versions = '/usr/lib/postgresql'
  const bin = join(versions, readdirSync(versions).sort((a, b) => a - b).at(-1), 'bin')
  const home = mkdtempSync(join(tmpdir(), 'collab-postgres-'))
  atEnd(() => rmSync(home, { recursive: true, force: true }))
  const account = { cwd: home }
  if (process.getuid() === 0) {
    for (const [key, flag] of [['uid', '-u'], ['gid', '-g']]) {
      account[key] = Number(execFileSync('id', [flag, 'postgres']))
    }
    chownSync(home, account.uid, account.gid)
  }
  const [data, port] = [join(home, 'data'), await freePort()]
  const prepared = run(join(bin, 'initdb'), [
    '--pgdata', data, '--auth', 'trust', '--username', 'collab', '--encoding', 'UTF8', '--no-sync'
  ], account)
  assert.equal(await prepared.ended, 0, prepared.log)
  const started = run(join(bin, 'postgres'), [
    '-D', data, '-p', port, '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${home}`
  ], { ...account, detached: true })
  await until('PostgreSQL', () => started.log.includes('ready to accept connections') || started.code !== undefined,
    () => started.log)
  assert.equal(started.code, undefined, started.log)
  const url = `postgres://collab@127.0.0.1:${port}/postgres?sslmode=disable`
  return {
    ...server(started), url, query: sql => execFileSync(join(bin, 'psql'), ['-XAtqc', sql, url], { encoding: 'utf8' }).trim()
  }
}

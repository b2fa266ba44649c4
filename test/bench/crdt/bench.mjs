// Measures Yjs, or ywasm if ENGINE says so, as worker.go does this engine: a request is a list of a name and arguments.
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'

const wasm = process.env.ENGINE === 'ywasm'
const Y = createRequire(process.cwd() + '/')(wasm ? 'ywasm' : 'yjs')

const newDoc = () => {
  const d = wasm ? new Y.YDoc() : new Y.Doc()
  d.getText('text')
  d.getArray('array')
  d.getMap('map')
  return d
}
const apply = n => {
  const d = newDoc()
  for (let i = 0; i < n; i++) Y.applyUpdate(d, updates[i])
  return d
}
const load = update => {
  const d = newDoc()
  Y.applyUpdate(d, update)
  return d
}
// What WebAssembly holds must be let go by hand.
const drop = d => { if (wasm) d.free() }

const now = () => Number(process.hrtime.bigint())
const measure = f => {
  f()
  global.gc()
  const times = []
  const start = now()
  while (times.length < 5 || now() - start < 3e8) {
    let n = 0
    const begin = now()
    while (n === 0 || now() - begin < 1e6) { f(); n++ }
    times.push((now() - begin) / n)
  }
  times.sort((a, b) => a - b)
  return times[times.length >> 1]
}

const footprint = () => {
  global.gc()
  global.gc()
  const m = process.memoryUsage()
  return [m.heapUsed + m.external, m.rss]
}

let updates = []
let final
const kept = []
const commands = {
  updates: list => { updates = list },
  apply: () => {
    const took = measure(() => drop(apply(updates.length)))
    const d = apply(updates.length)
    const sv = Y.encodeStateVector(apply(Math.floor(updates.length * 99 / 100)))
    const length = wasm ? d.getArray('array').length(undefined) : d.getArray('array').length
    const size = wasm ? Object.keys(d.getMap('map').toJson(undefined)).length : d.getMap('map').size
    return [took, Y.encodeStateAsUpdate(d), sv, wasm ? d.getText('text').toString(undefined) : d.getText('text').toString(), length, size]
  },
  load: update => { final = update; return measure(() => drop(load(final))) },
  encode: () => { const d = load(final); return measure(() => Y.encodeStateAsUpdate(d)) },
  diff: sv => { const d = load(final); return measure(() => Y.encodeStateAsUpdate(d, sv)) },
  merge: n => { const part = updates.slice(0, n); return measure(() => Y.mergeUpdates(part)) },
  memory: (update, copies) => {
    drop(load(update))
    const [heap, rss] = footprint()
    for (let i = 0; i < copies; i++) kept.push(load(update))
    const [heapAfter, rssAfter] = footprint()
    return [(heapAfter - heap) / copies, (rssAfter - rss) / copies]
  }
}

const fill = (buffer, n) => {
  for (let at = 0; at < n;) {
    const read = fs.readSync(0, buffer, at, n - at, null)
    if (read === 0) process.exit(0)
    at += read
  }
}
const head = Buffer.alloc(4)
for (;;) {
  fill(head, 4)
  const request = new Uint8Array(head.readUInt32LE())
  fill(request, request.length)
  const [name, ...args] = decoding.readAny(decoding.createDecoder(request))
  const encoder = encoding.createEncoder()
  encoding.writeAny(encoder, commands[name](...args))
  const body = encoding.toUint8Array(encoder)
  const out = Buffer.alloc(4 + body.length)
  out.writeUInt32LE(body.length)
  out.set(body, 4)
  for (let at = 0; at < out.length;) at += fs.writeSync(1, out, at)
}

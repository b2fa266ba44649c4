// Measures Yjs, or ywasm if ENGINE says so, as worker.go does this engine: a request is a list of a name and arguments.
import { createRequire } from 'node:module'

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
let samples, enough
const measure = f => {
  f()
  global.gc()
  let best = Infinity
  const start = now()
  for (let taken = 0; taken < samples || now() - start < enough; taken++) {
    let n = 0
    const begin = now()
    while (n === 0 || now() - begin < 1e6) { f(); n++ }
    best = Math.min(best, (now() - begin) / n)
  }
  return best
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
  effort: (s, e) => { samples = s; enough = e },
  updates: list => { updates = list },
  apply: () => {
    const took = measure(() => drop(apply(updates.length)))
    const d = apply(updates.length)
    const sv = Y.encodeStateVector(apply(Math.floor(updates.length * 99 / 100)))
    const length = wasm ? d.getArray('array').length(undefined) : d.getArray('array').length
    const size = wasm ? Object.keys(d.getMap('map').toJson(undefined)).length : d.getMap('map').size
    return [took, Y.encodeStateAsUpdate(d), sv, d.getText('text').toString(undefined), length, size]
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

serve(([name, ...args]) => commands[name](...args))

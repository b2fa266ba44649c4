// Generates fixtures with the real Yjs: node gen.mjs <first seed> <scenarios> > scenarios.jsonl
// It needs yjs 13.6 where Node finds it (NODE_PATH does not work for modules; run it from a folder that has it).
//
// Every scenario is a line of JSON. Peers edit all kinds of types at random and exchange updates in random order; an
// observer receives everything, some of it twice, some merged, some in format v2. The line holds what the observer got
// and what Yjs made of it.
import * as Y from 'yjs'

const hex = b => Buffer.from(b).toString('hex')

const prng = seed => () => { // mulberry32
  seed = (seed + 0x6D2B79F5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const words = ['a', 'hello', ' ', 'wörld', '😀', 'x😀y', '\n', '漢字', 'lorem ipsum dolor', 'é', '\u0000', '"q\\']
const attributeList = [{ bold: true }, { bold: null }, { italic: true }, { italic: null }, { color: 'red' }, { color: 'blue' },
  { color: null }, { link: { href: 'x', n: 1 } }, { link: null }, { bold: true, italic: true }, { size: 1.5 }]
const values = [1, -1, 0, -0, 1.5, 1e21, 123456789012, 0.1, 'str', 'ü😀', true, false, null, undefined, { a: 1, b: [1, { c: 2 }], 2: 'two', 1: 'one' },
  [], [1, 'x', null], {}, '', 2147483647, 2147483648, -2147483648]

class Random {
  constructor (seed) { this.next = prng(seed) }
  int (n) { return Math.floor(this.next() * n) }
  of (list) { return list[this.int(list.length)] }
  chance (p) { return this.next() < p }
}

const define = doc => { doc.getText('text'); doc.getArray('array'); doc.getMap('map'); doc.getXmlFragment('xml'); return doc }

const value = r => r.chance(0.15) ? new Uint8Array([1, 2, r.int(256)]) : r.of(values)
// What JSON can tell.
const clean = v => v === undefined || Object.is(v, -0) ? null : v

// Yjs compares objects by identity, so each is a new one.
const attributes = { random: r => structuredClone(r.of(attributeList)) }

// Operations are recorded, so that they can be made again elsewhere.
const textOps = (r, len) => {
  if (len === 0) return ['insert', 0, r.of(words)] // Yjs fails to delete from an empty text.
  const at = r.int(len + 1)
  switch (r.int(8)) {
    case 0: return ['delete', at, 1 + r.int(4)]
    case 1: return ['format', at, 1 + r.int(6), attributes.random(r)]
    case 2: return ['insertf', at, r.of(words), attributes.random(r)]
    case 3: return r.chance(0.4) ? ['embed', at, r.of([{ image: 'x' }, { n: 1, list: [1, 2] }]), r.chance(0.5) ? attributes.random(r) : {}] : ['insert', at, r.of(words)]
    case 4: return r.chance(0.3) ? ['delta', [{ retain: at }, { insert: r.of(words), attributes: attributes.random(r) }, { retain: 1 + r.int(3), attributes: attributes.random(r) }, { delete: 1 + r.int(2) }]] : ['insert', at, r.of(words)]
    default: return ['insert', at, r.of(words)]
  }
}
const applyText = (t, op) => {
  switch (op[0]) {
    case 'delete': t.delete(op[1], op[2]); break
    case 'format': t.format(op[1], op[2], op[3]); break
    case 'insertf': t.insert(op[1], op[2], op[3]); break
    case 'embed': t.insertEmbed(op[1], op[2], op[3]); break
    case 'delta': t.applyDelta(op[1]); break
    default: t.insert(op[1], op[2])
  }
}

// The chain of types below a root, for editing at some depth.
const descend = (r, type) => {
  for (let i = 0; i < 4 && r.chance(0.6); i++) {
    let children = []
    if (type instanceof Y.XmlElement || type instanceof Y.XmlFragment || type instanceof Y.Array) children = type.toArray()
    else if (type instanceof Y.Map) children = [...type.values()]
    children = children.filter(c => c instanceof Y.AbstractType)
    if (children.length === 0) break
    type = r.of(children)
  }
  return type
}

const newType = r => r.of([
  () => new Y.Map([['k', 1], ['m', 'v']]), () => new Y.Array(), () => new Y.Text('init'), () => Y.Array.from([1, 'two']),
  () => { const t = new Y.Text(); t.insert(0, 'rich', { bold: true }); return t }
])()
const newXml = r => r.of([
  () => new Y.XmlElement('P'), () => new Y.XmlText('xml'), () => { const e = new Y.XmlElement('div'); e.setAttribute('class', 'c'); e.insert(0, [new Y.XmlText('in')]); return e },
  () => { const h = new Y.XmlHook('hook'); h.set('a', 1); return h }, () => new Y.XmlElement('br')
])()

const edit = (r, doc) => {
  const root = r.of([doc.getText('text'), doc.getText('text'), doc.getArray('array'), doc.getMap('map'), doc.getXmlFragment('xml')])
  const type = descend(r, root)
  if (type instanceof Y.Text) {
    if (r.chance(0.05)) type.setAttribute('dir', r.of(['ltr', 'rtl']))
    else applyText(type, textOps(r, type.length))
  } else if (type instanceof Y.XmlHook) {
    type.set(r.of(['a', 'b']), clean(r.of(values)))
  } else if (type instanceof Y.XmlElement || type instanceof Y.XmlFragment) {
    const op = r.int(5)
    if (op === 0 && type.length > 0) type.delete(r.int(type.length), 1)
    else if (op === 1 && type instanceof Y.XmlElement) type.setAttribute(r.of(['id', 'class', 'n']), r.of(['x', 'y', 7]))
    else if (op === 2 && type instanceof Y.XmlElement) type.removeAttribute(r.of(['id', 'class', 'n']))
    else type.insert(r.int(type.length + 1), [newXml(r)])
  } else if (type instanceof Y.Array) {
    const op = r.int(4)
    if (op === 0 && type.length > 0) { const at = r.int(type.length); type.delete(at, Math.min(1 + r.int(3), type.length - at)) }
    else if (op === 1) type.push([clean(value(r)), clean(value(r))])
    else if (op === 2) type.insert(r.int(type.length + 1), [newType(r)])
    else type.insert(r.int(type.length + 1), [clean(value(r)), 'x', r.int(1000)].slice(0, 1 + r.int(3)))
  } else if (type instanceof Y.Map) {
    const key = r.of(['a', 'b', 'c', '1', 'zz', ''])
    const op = r.int(6)
    if (op === 0) type.delete(key)
    else if (op === 1) type.set(key, newType(r))
    else if (op === 2) type.set(key, new Y.Doc({ guid: 'guid-' + r.int(5), meta: r.chance(0.5) ? { m: 1 } : null, autoLoad: r.chance(0.5) }))
    else type.set(key, value(r))
  }
}

const json = (_k, v) => v instanceof Uint8Array ? { bytes: hex(v) } : v

const exchange = r => {
  const gc = r.chance(0.7)
  const peers = Array.from({ length: 2 + r.int(3) }, (_, i) => {
    const d = define(new Y.Doc({ gc: r.chance(0.7) }))
    d.clientID = 10 + i * 7 + r.int(1000000)
    return d
  })
  const log = []
  peers.forEach((d, i) => d.on('update', (u, origin) => {
    if (origin === 'remote') return
    let u2 = null
    peers.forEach((o, j) => { if (i !== j) { o.inbox = o.inbox || []; o.inbox.push(u) } })
    log.push(u)
  }))
  const rounds = 5 + r.int(30)
  for (let i = 0; i < rounds; i++) {
    const d = r.of(peers)
    if (r.chance(0.3)) d.transact(() => { for (let k = 0; k < 3; k++) edit(r, d) })
    else edit(r, d)
    const o = r.of(peers)
    const inbox = o.inbox || []
    while (inbox.length > 0 && r.chance(0.7)) Y.applyUpdate(o, inbox.splice(r.int(inbox.length), 1)[0], 'remote')
  }
  for (const d of peers) for (const o of peers) if (d !== o) Y.applyUpdate(d, Y.encodeStateAsUpdate(o), 'remote')
  // What the observer receives.
  const sequence = []
  const all = log.slice()
  while (all.length > 0) {
    const n = r.chance(0.2) ? Math.min(all.length, 2 + r.int(4)) : 1
    const part = []
    for (let i = 0; i < n; i++) part.push(all.splice(r.chance(0.6) ? 0 : r.int(all.length), 1)[0])
    let u = part.length > 1 ? Y.mergeUpdates(part) : part[0]
    if (r.chance(0.3)) sequence.push({ v: 2, u: Y.convertUpdateFormatV1ToV2(u) }); else sequence.push({ v: 1, u })
    if (r.chance(0.1)) sequence.push({ v: 1, u: r.of(log) })
  }
  if (r.chance(0.3)) { const d = r.of(peers); sequence.push({ v: 2, u: Y.encodeStateAsUpdateV2(d) }) }
  const observer = new Y.Doc({ gc })
  observer.clientID = 3
  const defined = r.chance(0.8)
  if (defined) define(observer)
  const emitted = []
  observer.on('update', u => emitted.push(hex(u)))
  const middle = r.int(sequence.length)
  const steps = sequence.map(({ v, u }, i) => {
    if (v === 1) Y.applyUpdate(observer, u); else Y.applyUpdateV2(observer, u)
    const s = { v, u: hex(u) }
    if (i === middle) {
      s.state = hex(Y.encodeStateAsUpdate(observer))
      s.state2 = hex(Y.encodeStateAsUpdateV2(observer))
    }
    return s
  })
  const sv = Y.encodeStateVector(r.of(peers))
  const partial = Y.encodeStateVector([...Y.decodeStateVector(Y.encodeStateVector(observer))].length > 0
    ? new Map([...Y.decodeStateVector(Y.encodeStateVector(observer))].map(([c, k]) => [c, r.int(k + 1)]))
    : new Map())
  const state = Y.encodeStateAsUpdate(observer)
  const state2 = Y.encodeStateAsUpdateV2(observer)
  const snapshot = Y.snapshot(observer)
  define(observer)
  const v1 = sequence.filter(s => s.v === 1).map(s => s.u)
  const merged = Y.mergeUpdates(v1)
  const merged2 = Y.mergeUpdatesV2(sequence.map(s => s.v === 1 ? Y.convertUpdateFormatV1ToV2(s.u) : s.u))
  const meta = Y.parseUpdateMeta(merged)
  return {
    kind: 'exchange', gc, defined, steps, emitted,
    sv: hex(Y.encodeStateVector(observer)), state: hex(state), state2: hex(state2),
    partial: hex(partial), diff: hex(Y.encodeStateAsUpdate(observer, partial)), diff2: hex(Y.encodeStateAsUpdateV2(observer, partial)),
    updateDiff: hex(Y.diffUpdate(merged, partial)), updateDiff2: hex(Y.diffUpdateV2(merged2, partial)),
    merged: hex(merged), merged2: hex(merged2),
    mergedSv: hex(Y.encodeStateVectorFromUpdate(merged)), mergedSv2: hex(Y.encodeStateVectorFromUpdateV2(merged2)),
    from: hex(Y.encodeStateVector(meta.from)), to: hex(Y.encodeStateVector(meta.to)),
    toV1: hex(Y.convertUpdateFormatV2ToV1(state2)), toV2: hex(Y.convertUpdateFormatV1ToV2(state)),
    snapshot: hex(Y.encodeSnapshot(snapshot)), snapshot2: hex(Y.encodeSnapshotV2(snapshot)),
    json: JSON.stringify(observer.toJSON(), json), delta: JSON.stringify(observer.getText('text').toDelta(), json),
    xml: observer.getXmlFragment('xml').toString(), text: observer.getText('text').toString()
  }
}

// The same edits made in Go must give the same bytes. Search markers, whose state decides where among deleted items
// Yjs inserts, are turned off.
const mirror = r => {
  const doc = new Y.Doc({ gc: r.chance(0.5) })
  doc.clientID = 5
  const text = doc.getText('text'); text._searchMarker = null
  const array = doc.getArray('array'); array._searchMarker = null
  const map = doc.getMap('map')
  const ops = []
  let last = null
  const events = []
  text.observe(e => { events.push(JSON.stringify(e.delta, json)) })
  array.observe(e => { events.push(JSON.stringify(e.delta, json)) })
  map.observe(e => { events.push(JSON.stringify([...e.keys].map(([k, v]) => [k, v.action, v.oldValue === undefined ? null : v.oldValue]), json)) })
  doc.on('update', u => { last = last ? last + ',' + hex(u) : hex(u) })
  const n = 20 + r.int(40)
  for (let i = 0; i < n; i++) {
    last = null
    events.length = 0
    const which = r.int(8)
    let op
    if (which < 5) {
      op = ['text', ...textOps(r, text.length)]
      applyText(text, op.slice(1))
    } else if (which < 7) {
      const kind = r.int(3)
      if (kind === 0 && array.length > 0) { const at = r.int(array.length); op = ['array', 'delete', at, Math.min(1 + r.int(3), array.length - at)]; array.delete(op[2], op[3]) }
      else if (kind === 1) { op = ['array', 'push', [clean(r.of(values)), i]]; array.push(op[2]) }
      else { op = ['array', 'insert', r.int(array.length + 1), [i, clean(r.of(values)), 'x']]; array.insert(op[2], op[3]) }
    } else {
      const key = r.of(['a', 'b', 'c'])
      if (r.chance(0.3)) { op = ['map', 'delete', key]; map.delete(key) } else { op = ['map', 'set', key, clean(r.of(values))]; map.set(key, op[3]) }
    }
    ops.push({ op: JSON.parse(JSON.stringify(op)), update: last, events: events.slice() })
  }
  return { kind: 'mirror', gc: doc.gc, ops, state: hex(Y.encodeStateAsUpdate(doc)) }
}

const [first, count] = process.argv.slice(2).map(Number)
for (let seed = first; seed < first + count; seed++) {
  const r = new Random(seed)
  const scenario = seed % 4 === 0 ? mirror(r) : exchange(r)
  process.stdout.write(JSON.stringify({ seed, ...scenario }) + '\n')
}

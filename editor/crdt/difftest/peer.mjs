// Answers the requests of difftest_test.go with what the real Yjs does. A request is a list of commands, each a list of
// a name and arguments; so is the answer, of results. See yjs.Process for how they are encoded.
import * as Y from 'yjs'

// Search markers, whose state decides where among deleted items Yjs inserts, are turned off where a document in Go
// makes the same edits.
Object.defineProperty(Y.AbstractType.prototype, '_searchMarker', {
  get () { return this.doc !== null && this.doc.markers ? this.markers : null },
  set (v) { this.markers = v }
})

const docs = new Map()

const plain = v => {
  if (v instanceof Y.Doc) return ['doc', v.guid, v.meta === undefined ? null : v.meta, v.autoLoad]
  if (v instanceof Y.AbstractType) return describe(v)
  return v
}

const delta = ops => ops.map(op => {
  const o = {}
  if (op.insert !== undefined) o.insert = op.insert instanceof Array ? op.insert.map(plain) : plain(op.insert)
  if (op.delete !== undefined) o.delete = op.delete
  if (op.retain !== undefined) o.retain = op.retain
  if (op.attributes !== undefined) o.attributes = op.attributes
  return o
})

const attributes = o => Object.entries(o).map(([k, v]) => [k, plain(v)])

const kindOf = t => t instanceof Y.AbstractType ? t.constructor.name.replace(/^_?Y/, '') : null

const siblings = t => t.parent instanceof Y.XmlFragment && !t._item.deleted ? [kindOf(t.prevSibling), kindOf(t.nextSibling)] : []

const describe = t => {
  if (t instanceof Y.XmlText) return ['XmlText', delta(t.toDelta()), attributes(t.getAttributes()), t.toString(), t.length]
  if (t instanceof Y.Text) return ['Text', delta(t.toDelta()), attributes(t.getAttributes()), t.toString(), t.length]
  if (t instanceof Y.Array) return ['Array', t.toArray().map(plain), t.length]
  if (t instanceof Y.XmlHook) return ['XmlHook', t.hookName, [...t.entries()].map(([k, v]) => [k, plain(v)])]
  if (t instanceof Y.Map) return ['Map', [...t.entries()].map(([k, v]) => [k, plain(v)]), t.size]
  if (t instanceof Y.XmlElement) return ['XmlElement', t.nodeName, attributes(t.getAttributes()), t.toArray().map(plain), t.toString(), kindOf(t.firstChild), siblings(t)]
  if (t instanceof Y.XmlFragment) return ['XmlFragment', t.toArray().map(plain), t.toString(), t.length, kindOf(t.firstChild)]
  return ['undefined']
}

const kinds = { text: Y.Text, array: Y.Array, map: Y.Map, xml: Y.XmlFragment, element: Y.XmlElement, xmltext: Y.XmlText }
const define = doc => Object.entries(kinds).map(([name, kind]) => doc.get(name, kind))

// A type to be inserted is described by an object with the key $.
const build = v => {
  if (v === null || typeof v !== 'object' || v.$ === undefined) return v
  switch (v.$) {
    case 'Number': return Number(v.text)
    case 'BigInt': return BigInt(v.text)
    case 'Doc': return new Y.Doc({ guid: v.guid, meta: v.meta, autoLoad: v.autoLoad, gc: v.gc })
    case 'Text': case 'XmlText': {
      const t = v.$ === 'Text' ? new Y.Text(v.text) : new Y.XmlText(v.text)
      for (const [at, s, a] of v.more) t.insert(at, s, a)
      return t
    }
    case 'Array': { const t = new Y.Array(); t.insert(0, v.items.map(build)); return t }
    case 'Map': return new Y.Map(v.members.map(([k, e]) => [k, build(e)]))
    case 'XmlHook': { const t = new Y.XmlHook(v.name); v.members.forEach(([k, e]) => t.set(k, build(e))); return t }
    case 'XmlElement': {
      const t = new Y.XmlElement(v.name)
      t.insert(0, v.items.map(build))
      v.members.forEach(([k, e]) => t.setAttribute(k, build(e)))
      return t
    }
    case 'XmlFragment': { const t = new Y.XmlFragment(); t.insert(0, v.items.map(build)); return t }
  }
  throw new Error('unknown type ' + v.$)
}

const find = (doc, [root, ...path]) => path.reduce((t, step) => {
  if (t instanceof Y.Text) return t.toDelta().map(op => op.insert).filter(i => i instanceof Y.AbstractType)[step]
  return t.get(step)
}, doc.get(root, kinds[root]))

const edits = {
  insert: (t, at, s) => t.insert(at, s),
  insertf: (t, at, s, a) => t.insert(at, s, a),
  embed: (t, at, v, a) => t.insertEmbed(at, build(v), a),
  delete: (t, at, n) => t.delete(at, n),
  format: (t, at, n, a) => t.format(at, n, a),
  delta: (t, ops) => t.applyDelta(ops),
  values: (t, at, vs) => t.insert(at, vs.map(build)),
  after: (t, at, vs) => t.insertAfter(at < 0 ? null : t.get(at), vs.map(build)),
  push: (t, vs) => t.push(vs.map(build)),
  set: (t, k, v) => t.set(k, build(v)),
  unset: (t, k) => t.delete(k),
  clear: t => t.clear(),
  attribute: (t, k, v) => t.setAttribute(k, build(v)),
  unattribute: (t, k) => t.removeAttribute(k)
}

const meta = ({ from, to }) => [Y.encodeStateVector(from), Y.encodeStateVector(to)]

const assoc = p => p.assoc

const commands = {
  new: (id, { client, gc, markers, observe, keep }) => {
    const doc = new Y.Doc({ gc, guid: 'guid' })
    doc.clientID = client
    doc.markers = markers
    doc.emitted = []
    doc.seen = []
    docs.set(id, doc)
    const types = define(doc)
    doc.on('update', (u, origin) => doc.emitted.push([u, origin === 'remote']))
    doc.on('updateV2', u => doc.emitted.push([u, true]))
    if (keep) doc.undo = new Y.UndoManager(types, { captureTimeout: keep === 'each' ? 0 : 1e9 })
    if (observe) {
      for (const t of types) {
        t.observeDeep(events => doc.seen.push(events.map(e =>
          [e.path, delta(e.changes.delta), [...e.changes.keys].map(([k, c]) => [k, c.action, plain(c.oldValue)])])))
      }
      doc.on('subdocs', ({ added, removed, loaded }) => {
        // Yjs tells again of what was removed when it destroys that, and asks to load what was deleted at once.
        const news = [added, [...removed].filter(d => !d.isDestroyed), [...loaded].filter(d => added.has(d))]
        if (news.some(list => [...list].length > 0)) doc.seen.push(news.map(list => [...list].map(d => d.guid)))
      })
    }
  },
  edit: (id, list) => {
    const doc = docs.get(id)
    doc.transact(() => list.forEach(([path, name, ...args]) => edits[name](find(doc, path), ...args)))
  },
  undo: id => { docs.get(id).undo.undo() },
  redo: id => { docs.get(id).undo.redo() },
  apply: (id, u, v2) => { (v2 ? Y.applyUpdateV2 : Y.applyUpdate)(docs.get(id), u, 'remote') },
  emitted: id => docs.get(id).emitted.splice(0),
  seen: id => docs.get(id).seen.splice(0),
  state: id => [Y.encodeStateVector(docs.get(id)), Y.encodeStateAsUpdate(docs.get(id)), Y.encodeStateAsUpdateV2(docs.get(id))],
  diff: (id, sv) => [Y.encodeStateAsUpdate(docs.get(id), sv), Y.encodeStateAsUpdateV2(docs.get(id), sv)],
  content: id => define(docs.get(id)).map(describe),
  json: id => JSON.stringify(docs.get(id), (k, v) => typeof v === 'bigint' ? `bigint ${v}` : v)
    .replace(/"bigint (-?\d+)"/g, '$1'),
  snapshot: id => { const s = Y.snapshot(docs.get(id)); return [Y.encodeSnapshot(s), Y.encodeSnapshotV2(s)] },
  past: (id, s, previous) => {
    const doc = docs.get(id)
    const at = Y.decodeSnapshot(s)
    const old = Y.createDocFromSnapshot(doc, at)
    const types = define(old)
    return [Y.encodeStateAsUpdate(old), types.map(describe),
      delta(doc.getText('text').toDelta(at, Y.decodeSnapshot(previous)))]
  },
  contains: (s, u) => Y.snapshotContainsUpdate(Y.decodeSnapshot(s), u),
  position: (id, path, at, assoc) => {
    const p = Y.createRelativePositionFromTypeIndex(find(docs.get(id), path), at, assoc)
    return [Y.encodeRelativePosition(p), JSON.stringify(Y.relativePositionToJSON(p))]
  },
  whereis: (id, p) => {
    const found = Y.createAbsolutePositionFromRelativePosition(Y.decodeRelativePosition(p), docs.get(id))
    return found === null ? null : [describe(found.type), found.index, assoc(found)]
  },
  free: id => { docs.get(id).destroy(); docs.delete(id) },
  merge: (us, v2) => (v2 ? Y.mergeUpdatesV2 : Y.mergeUpdates)(us),
  algebra: (u, u2, sv) => [
    Y.diffUpdate(u, sv), Y.diffUpdateV2(u2, sv), Y.encodeStateVectorFromUpdate(u), Y.encodeStateVectorFromUpdateV2(u2),
    ...meta(Y.parseUpdateMeta(u)), ...meta(Y.parseUpdateMetaV2(u2)),
    Y.convertUpdateFormatV1ToV2(u), Y.convertUpdateFormatV2ToV1(u2)
  ]
}

// The answer is the results up to the first command that fails, and why that does.
serve(request => {
  const results = []
  try {
    for (const [name, ...args] of request) results.push(commands[name](...args))
  } catch (e) {
    return [results, e.stack]
  }
  return [results, null]
})

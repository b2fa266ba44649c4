// Generates fixtures with a Yjs of another time: node old.mjs <seed> <documents> > old.jsonl
// It needs that Yjs where Node finds it (run it from a folder that has it). The fixtures are of yjs 13.2.0, the first to
// write update format v1 as it is today. Every document was edited by three peers at random.
import * as Y from 'yjs'

const [seed, count] = process.argv.slice(2).map(Number)
let state = seed
const next = n => {
  state = (state + 0x6D2B79F5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) % n
}
const of = list => list[next(list.length)]

const edits = [
  doc => doc.getText('text').insert(next(doc.getText('text').length + 1), of(['a', 'bc', 'wörld', '\n', '漢字'])),
  doc => doc.getText('text').insert(next(doc.getText('text').length + 1), of(['x', 'yz']), of([{ bold: true }, { color: '#888' }, {}])),
  doc => doc.getText('text').insertEmbed(next(doc.getText('text').length + 1), { image: 'x.png' }),
  doc => { const t = doc.getText('text'); if (t.length > 3) t.delete(next(t.length - 2), 2) },
  doc => { const t = doc.getText('text'); if (t.length > 5) t.format(next(t.length - 4), 4, of([{ bold: true }, { bold: null }, { italic: true }])) },
  doc => doc.getArray('array').insert(next(doc.getArray('array').length + 1), [next(1000), 'x', { a: [1.5] }].slice(next(3))),
  doc => doc.getArray('array').insert(next(doc.getArray('array').length + 1), [of([new Y.Map(), new Y.Array()])]),
  doc => { const a = doc.getArray('array'); if (a.length > 2) a.delete(next(a.length - 1), 1 + next(2)) },
  doc => doc.getArray('array').forEach(c => { if (c instanceof Y.Map) c.set('deep', next(9)); else if (c instanceof Y.Array) c.push([next(9)]) }),
  doc => doc.getMap('map').set(of(['a', 'b', 'c']), of([1, 'two', [3], { four: 4 }, true, new Uint8Array([5])])),
  doc => doc.getMap('map').delete(of(['a', 'b', 'c'])),
  doc => doc.getXmlFragment('xml').insert(0, [of([new Y.XmlElement('p'), new Y.XmlText('t')])]),
  doc => doc.getXmlFragment('xml').toArray().forEach(c => { if (c instanceof Y.XmlElement) c.setAttribute('n', String(next(9))) })
]

const bytes = (_k, v) => v instanceof Uint8Array ? { bytes: Buffer.from(v).toString('hex') } : v
for (let i = 0; i < count; i++) {
  const docs = [1, 2, 3].map(id => { const d = new Y.Doc(); d.clientID = id; return d })
  for (let round = 0; round < 12; round++) {
    for (const d of docs) for (let k = 0; k < 5; k++) of(edits)(d)
    const [a, b] = [of(docs), of(docs)]
    Y.applyUpdate(b, Y.encodeStateAsUpdate(a, Y.encodeStateVector(b)))
  }
  for (const a of docs) Y.applyUpdate(docs[0], Y.encodeStateAsUpdate(a))
  const d = docs[0]
  process.stdout.write(JSON.stringify({
    update: Buffer.from(Y.encodeStateAsUpdate(d)).toString('hex'),
    delta: JSON.stringify(d.getText('text').toDelta(), bytes),
    array: JSON.stringify(d.getArray('array').toJSON(), bytes),
    map: JSON.stringify(d.getMap('map').toJSON(), bytes),
    xml: d.getXmlFragment('xml').toString()
  }) + '\n')
}

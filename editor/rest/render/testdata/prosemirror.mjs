// Makes a document as an editor with y-prosemirror does, and shows what y-prosemirror says is in it.
import * as Y from 'yjs'
import { Schema } from 'prosemirror-model'
import { prosemirrorJSONToYXmlFragment, yXmlFragmentToProsemirrorJSON } from 'y-prosemirror'

const schema = new Schema({
  nodes: {
    doc: { content: 'block+' },
    paragraph: { content: 'inline*', group: 'block' },
    heading: { content: 'inline*', group: 'block', attrs: { level: { default: 1 }, id: { default: null } } },
    blockquote: { content: 'block+', group: 'block' },
    horizontal_rule: { group: 'block' },
    hard_break: { inline: true, group: 'inline' },
    mention: { inline: true, group: 'inline', attrs: { label: { default: '' }, data: { default: null } } },
    text: { group: 'inline' }
  },
  marks: {
    strong: {},
    em: {},
    link: { attrs: { href: {}, title: { default: null } } },
    // Comments overlap: y-prosemirror tells them apart by a hash.
    comment: { attrs: { id: {} }, excludes: '' }
  }
})

serve(json => {
  const doc = new Y.Doc()
  const fragment = doc.getXmlFragment('prosemirror')
  prosemirrorJSONToYXmlFragment(schema, JSON.parse(json), fragment)
  return { update: Y.encodeStateAsUpdate(doc), json: JSON.stringify(yXmlFragmentToProsemirrorJSON(fragment)) }
})

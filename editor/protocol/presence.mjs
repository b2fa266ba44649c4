// Answers the requests of presence_test.go with what y-protocols does. A request is a name and arguments.
import * as Y from 'yjs'
import * as awareness from 'y-protocols/awareness'

const all = new Map()

const commands = {
  // A client starts with an empty state of clock 0, which others do not hear of, and an observer with none.
  new: (id, client, observes) => {
    const a = new awareness.Awareness(new Y.Doc())
    clearInterval(a._checkInterval)
    a.states.clear()
    a.meta.clear()
    a.clientID = client
    if (!observes) a.setLocalState({})
    all.set(id, a)
  },
  // What a client says of itself, with the state that it then has.
  set: (id, state) => {
    const a = all.get(id)
    a.setLocalState(state)
    return awareness.encodeAwarenessUpdate(a, [a.clientID])
  },
  apply: (id, update) => { awareness.applyAwarenessUpdate(all.get(id), update, 'remote') },
  say: id => awareness.encodeAwarenessUpdate(all.get(id), [all.get(id).clientID]),
  states: id => [...all.get(id).getStates()].sort(([a], [b]) => a - b).map(([id, s]) => [id, JSON.stringify(s)])
}

serve(([name, ...args]) => {
  try {
    return commands[name](...args) ?? null
  } catch (e) {
    return 'failed: ' + e.stack
  }
})

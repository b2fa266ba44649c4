// Package crdt is a Yjs document in Go: bit-compatible with yjs 13.6, so that browsers and this service exchange and
// store the same bytes.
//
// A [Doc] holds named root types, which [Doc.Text], [Doc.Array], [Doc.Map] and [Doc.XmlFragment] return. It learns of
// the edits of others by [Doc.ApplyUpdate], tells what it knows by [Doc.EncodeStateVector] and what another lacks by
// [Doc.EncodeStateAsUpdate]. Edits are made with the methods of the types, many at a time within [Doc.Transact].
// [Doc.OnUpdate] reports every change as an update, and [Doc.Observe] what it did to a type.
//
//	doc := crdt.NewDoc(crdt.Options{})
//	if err := doc.ApplyUpdate(stored, nil); err != nil {
//		return err // The document is as it was.
//	}
//	missing, err := doc.EncodeStateAsUpdate(stateVectorOfTheClient)
//
// Updates can be merged, compared and converted without a document: [MergeUpdates], [DiffUpdate],
// [EncodeStateVectorFromUpdate], [ParseUpdateMeta], [ConvertUpdateV1ToV2]. Every function without a suffix speaks
// update format v1, the one of y-protocols.
//
// A Doc is not safe for concurrent use, not even for reading: its owner serializes access. Functions without a
// document are safe.
//
// Positions and lengths count UTF-16 code units, as JavaScript does. Values are those of package lib0.
//
// The package knows nothing of sockets, protocols, storage or time. How it works is told in docs/crdt.md.
package crdt

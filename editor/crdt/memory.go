package crdt

import (
	"unsafe"
)

// MemoryBytes estimates what the document takes in memory. It takes time in proportion to the number of clients.
func (d *Doc) MemoryBytes() int {
	n := int(unsafe.Sizeof(*d))
	n += slabBytes(&d.items) + slabBytes(&d.nodes) + slabBytes(&d.entries)
	n += d.keys.bytes + len(d.keys.names)*48
	n += len(d.entryIndex)*24 + len(d.handles)*96 + len(d.subdocs)*128 + len(d.rootOrder)*24
	for _, c := range d.clients {
		n += int(unsafe.Sizeof(*c)) + 24 // With its place in the index.
		n += cap(c.text.b) + cap(c.blob) + 8*cap(c.marks)
		if full := len(c.structs.blocks) - 1; full >= 0 { // Only the last block may be small.
			entries := full*maxBlock + cap(c.structs.blocks[full])
			n += entries*int(unsafe.Sizeof(entryOf{})) + (full+1)*28
		}
	}
	for _, x := range d.indexes {
		n += x.bytes()
	}
	n += cap(d.order) * 4
	n += d.pending.bytes + 48*len(d.pending.missing)
	for _, have := range d.pending.deletes {
		n += 100 + 8*cap(*have)
	}
	for _, q := range d.pending.structs {
		n += 150 + 8*cap(q.have)
	}
	return n
}

func slabBytes[T any](s *slab[T]) int {
	var zero T
	return len(s.chunks)*(slabChunk*int(unsafe.Sizeof(zero))+8) + cap(s.free)*4
}

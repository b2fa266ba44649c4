package crdt

// ref names an item of a document: its slot in the slab. Zero names none. A slot is reused once its item was merged
// into a neighbor, so a ref must not be kept where merging does not update it.
type ref uint32

// kind is the kind of a struct, numbered as in the update format.
type kind uint8

const (
	kindGC      kind = 0
	kindDeleted kind = 1
	kindJSON    kind = 2
	kindBinary  kind = 3
	kindString  kind = 4
	kindEmbed   kind = 5
	kindFormat  kind = 6
	kindType    kind = 7
	kindAny     kind = 8
	kindDoc     kind = 9
	kindSkip    kind = 10
)

// countable reports whether content of this kind has a position in its list.
func (k kind) countable() bool { return k >= kindJSON && k != kindFormat }

const (
	flagDeleted uint8 = 1 << iota
	flagKeep
)

// noClient stands for the client of an absent id.
const noClient = ^uint32(0)

// item is a struct of the document: 48 bytes without a pointer, so that the garbage collector of Go never looks at
// documents' contents. Ids name clients by their index in Doc.clients.
type item struct {
	clock  uint32
	length uint32
	client uint32
	// The item that was to the left when this one was inserted, and the one to the right.
	originClient, originClock uint32
	rightClient, rightClock   uint32
	// Its neighbors in the list, or in the history of the map entry, that it belongs to.
	left, right ref
	place       place
	// content says where the content is, depending on kind: an offset into the client's text (String) or blob (JSON,
	// Binary, Embed, Format, Any), a node (Type) or an index of Doc.subdocs (Doc).
	content uint32
	kind    kind
	flags   uint8
}

func (it *item) deleted() bool { return it.flags&flagDeleted != 0 || it.kind == kindGC }

func (it *item) keep() bool { return it.flags&flagKeep != 0 }

// end returns the clock behind the item's last.
func (it *item) end() uint32 { return it.clock + it.length }

func (it *item) hasOrigin() bool { return it.originClient != noClient }

func (it *item) hasRightOrigin() bool { return it.rightClient != noClient }

// place says where an item belongs: to the list of a node, or to an entry of its map. The lowest bit tells which.
type place uint32

const noPlace place = 0

func listPlace(n nodeRef) place   { return place(n) << 1 }
func entryPlace(e entryRef) place { return place(e)<<1 | 1 }

func (p place) isEntry() bool   { return p&1 != 0 }
func (p place) entry() entryRef { return entryRef(p >> 1) }
func (p place) list() nodeRef   { return nodeRef(p >> 1) }

// slab holds values in chunks that never move, and reuses freed slots. Slot 0 is never handed out.
type slab[T any] struct {
	chunks []*[slabChunk]T
	next   uint32
	free   []uint32
}

const (
	slabShift = 4
	slabChunk = 1 << slabShift
)

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>slabShift][i&(slabChunk-1)] }

func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if s.next == 0 {
		s.next = 1
	}
	if int(s.next>>slabShift) == len(s.chunks) {
		s.chunks = append(s.chunks, new([slabChunk]T))
	}
	i := s.next
	s.next++
	return i
}

// reserve makes room for n values at once.
func (s *slab[T]) reserve(n int) {
	missing := (int(s.next)+n+slabChunk)/slabChunk - len(s.chunks)
	if missing < 2 {
		return
	}
	all := make([]T, missing*slabChunk)
	for i := range missing {
		s.chunks = append(s.chunks, (*[slabChunk]T)(all[i*slabChunk:]))
	}
}

func (s *slab[T]) release(i uint32) {
	var zero T
	*s.at(i) = zero
	s.free = append(s.free, i)
}

// live returns how many slots are in use.
func (s *slab[T]) live() int {
	if s.next == 0 {
		return 0
	}
	return int(s.next) - 1 - len(s.free)
}

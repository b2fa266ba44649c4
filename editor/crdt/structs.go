package crdt

import (
	"cmp"
	"slices"

	"collab.dev/operator/editor/crdt/lib0"
)

// structList is the list of one client's structs in the order of their clocks, without gaps: a list of blocks, so that
// a split in the middle of a million structs moves a few hundred bytes.
type structList struct {
	blocks [][]entryOf
	first  []uint32 // The clock of each block's first struct.
}

// entryOf repeats the clock, so that a search stays within the block.
type entryOf struct {
	clock uint32
	ref   ref
}

// maxBlock is the number of structs at which a block is halved.
const maxBlock = 128

// spot is a place in a structList.
type spot struct{ block, index int }

func (l *structList) at(s spot) ref { return l.blocks[s.block][s.index].ref }

func (l *structList) clockAt(s spot) uint32 { return l.blocks[s.block][s.index].clock }

func (l *structList) last() spot {
	b := len(l.blocks) - 1
	return spot{b, len(l.blocks[b]) - 1}
}

func (l *structList) next(s spot) (spot, bool) {
	if s.index+1 < len(l.blocks[s.block]) {
		return spot{s.block, s.index + 1}, true
	}
	return spot{s.block + 1, 0}, s.block+1 < len(l.blocks)
}

func (l *structList) prev(s spot) (spot, bool) {
	if s.index > 0 {
		return spot{s.block, s.index - 1}, true
	}
	if s.block == 0 {
		return s, false
	}
	return spot{s.block - 1, len(l.blocks[s.block-1]) - 1}, true
}

// find returns the struct that holds clock, which must be in the list.
func (l *structList) find(clock uint32) spot {
	b := len(l.first) - 1
	if l.first[b] > clock {
		// Halving without a branch that depends on the comparison: half of those would be predicted wrongly.
		b = 0
		for n := len(l.first); n > 1; {
			half := n >> 1
			next := b + half
			if l.first[next] <= clock {
				b = next
			}
			n -= half
		}
	}
	block := l.blocks[b]
	i := 0
	for n := len(block); n > 1; {
		half := n >> 1
		next := i + half
		if block[next].clock <= clock {
			i = next
		}
		n -= half
	}
	return spot{b, i}
}

func (l *structList) append(clock uint32, r ref) {
	n := len(l.blocks)
	if n == 0 || len(l.blocks[n-1]) >= maxBlock {
		l.blocks = append(l.blocks, nil)
		l.first = append(l.first, clock)
		n++
		if n > 1 {
			l.blocks[n-1] = make([]entryOf, 0, maxBlock)
		}
	}
	l.blocks[n-1] = append(l.blocks[n-1], entryOf{clock, r})
}

// insertAfter puts a struct behind s and returns where it is; s itself stays valid unless its block was halved.
func (l *structList) insertAfter(s spot, clock uint32, r ref) spot {
	block := l.blocks[s.block]
	if len(block) >= maxBlock {
		half := len(block) / 2
		right := make([]entryOf, len(block)-half, maxBlock)
		copy(right, block[half:])
		l.blocks[s.block] = block[:half]
		l.blocks = append(l.blocks, nil)
		copy(l.blocks[s.block+2:], l.blocks[s.block+1:])
		l.blocks[s.block+1] = right
		l.first = append(l.first, 0)
		copy(l.first[s.block+2:], l.first[s.block+1:])
		l.first[s.block+1] = right[0].clock
		if s.index >= half {
			s = spot{s.block + 1, s.index - half}
		}
		block = l.blocks[s.block]
	}
	at := s.index + 1
	block = append(block, entryOf{})
	copy(block[at+1:], block[at:])
	block[at] = entryOf{clock, r}
	l.blocks[s.block] = block
	return spot{s.block, at}
}

// remove takes the struct at s out. It is never the first of the list, because structs merge into their left neighbor.
func (l *structList) remove(s spot) {
	block := l.blocks[s.block]
	copy(block[s.index:], block[s.index+1:])
	block = block[:len(block)-1]
	l.blocks[s.block] = block
	if len(block) == 0 {
		l.blocks = append(l.blocks[:s.block], l.blocks[s.block+1:]...)
		l.first = append(l.first[:s.block], l.first[s.block+1:]...)
		return
	}
	l.first[s.block] = block[0].clock
}

// countFrom returns the number of structs from s to the end.
func (l *structList) countFrom(s spot) int {
	n := len(l.blocks[s.block]) - s.index
	for _, block := range l.blocks[s.block+1:] {
		n += len(block)
	}
	return n
}

func (l *structList) count() int {
	n := 0
	for _, block := range l.blocks {
		n += len(block)
	}
	return n
}

// client is what a document knows of one client: its structs and their contents.
type client struct {
	id    uint64
	state uint32 // The next clock.
	// The state at the start of the newest transaction that added structs of this client, and which that was.
	before    uint32
	beforeSeq uint64

	structs structList

	// text holds the strings of the client's structs as UTF-16 code units and blob the other contents, both in the
	// order of clocks: what two structs hold that can merge is adjacent, so that merging moves nothing, and splitting
	// neither. What was deleted stays as garbage until compact.
	text        units
	blob        []byte
	textGarbage int
	blobGarbage int

	deletions bool   // Whether any struct was ever deleted.
	marks     []mark // Where in blob some clocks are.
}

// mark tells where in a client's blob the value of a clock starts, so that a value in the midst of a long item is found
// without reading all that are before it.
type mark struct{ clock, at uint32 }

// markEvery is the number of clocks between two marks.
const markEvery = 64

// mark notes where the values of an item are that was just stored, if it has any.
func (c *client) mark(it *item) {
	if it.kind != kindAny && it.kind != kindJSON {
		return
	}
	next := uint32(markEvery)
	if n := len(c.marks); n > 0 {
		next += c.marks[n-1].clock
	}
	if it.end() <= next {
		return
	}
	data := lib0.NewDecoder(c.blob[it.content:])
	for clock := it.clock; clock < it.end(); clock++ {
		if clock >= next {
			c.marks = append(c.marks, mark{clock, it.content + uint32(data.Pos())})
			next = clock + markEvery
		}
		skipValue(&data, it.kind)
	}
}

func skipValue(d *lib0.Decoder, k kind) {
	if k == kindJSON {
		d.VarBytes()
	} else {
		d.SkipCheckedAny()
	}
}

// valuesFrom returns where in blob the values of an item start that follow the first n.
func (c *client) valuesFrom(it *item, n uint32) uint32 {
	at, clock := it.content, it.clock
	if n >= markEvery {
		i, found := slices.BinarySearchFunc(c.marks, it.clock+min(n, it.length-1), func(m mark, clock uint32) int {
			return cmp.Compare(m.clock, clock)
		})
		if !found {
			i--
		}
		if i >= 0 && c.marks[i].clock > clock {
			at, clock = c.marks[i].at, c.marks[i].clock
		}
	}
	data := lib0.NewDecoder(c.blob[at:])
	for range it.clock + n - clock {
		skipValue(&data, it.kind)
	}
	return at + uint32(data.Pos())
}

// ref returns the item that holds clock.
func (c *client) ref(clock uint32) ref { return c.structs.at(c.structs.find(clock)) }

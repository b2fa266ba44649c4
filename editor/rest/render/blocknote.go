package render

// blockNoteLists are the lists and the items that BlockNote's items are.
var blockNoteLists = map[string]struct{ list, item string }{
	"bulletlistitem":   {"bulletList", "listItem"},
	"numberedlistitem": {"orderedList", "listItem"},
	"checklistitem":    {"taskList", "taskItem"},
}

// arranged returns a document of BlockNote in the order that all other schemas have. BlockNote has no lists: its
// documents are groups of containers, each of which has one block, an item of a list maybe, and a group of what is
// indented below it.
func (n Node) arranged() Node {
	if len(n.Content) == 1 && plainName(n.Content[0].Type) == "blockgroup" {
		n.Content = arrange(nil, n.Content)
	}
	return n
}

// arrange appends nodes, in lists where they are items.
func arrange(out, nodes []Node) []Node {
	open := "" // The list that out ends with, if it was begun here.
	for _, n := range nodes {
		switch plainName(n.Type) {
		case "blockgroup":
			out, open = arrange(out, n.Content), ""
		case "blockcontainer":
			if len(n.Content) == 0 {
				continue
			}
			block, below := n.Content[0], n.Content[1:]
			is, ok := blockNoteLists[plainName(block.Type)]
			if !ok {
				out, open = arrange(append(out, block), below), ""
				continue
			}
			if open != is.list {
				out, open = append(out, Node{Type: is.list, Attrs: block.Attrs}), is.list
			}
			list := &out[len(out)-1]
			paragraph := Node{Type: "paragraph", Content: block.Content}
			list.Content = append(list.Content, Node{
				Type: is.item, Attrs: block.Attrs, Content: arrange([]Node{paragraph}, below),
			})
		default:
			out, open = append(out, n), ""
		}
	}
	return out
}

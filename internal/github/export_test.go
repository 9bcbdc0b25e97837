package github

// RootID computes the id of a tree's root as git does.
func RootID(t *Tree) ID {
	w := &walk{}
	w.remember(t)
	return w.root
}

// MakeTree makes a tree of entries in any order.
func MakeTree(commit string, entries ...Entry) *Tree {
	b := treeBuilder{commit: commit}
	for _, e := range entries {
		b.add(e.Path, e.Mode, e.ID)
	}
	t, err := b.tree()
	if err != nil {
		panic(err)
	}
	return t
}

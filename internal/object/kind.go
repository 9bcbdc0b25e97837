package object

// Kind is the kind of an object. A request to Akamai holds only one kind.
type Kind string

// The kinds of objects. URL includes ARLs. A CP code is written in decimal.
const (
	URL    Kind = "url"
	Tag    Kind = "tag"
	CPCode Kind = "cpcode"
)

// Network is the Akamai network whose copies are purged.
type Network string

// Akamai's two networks.
const (
	Production Network = "production"
	Staging    Network = "staging"
)

// Action is what happens to the cached copies.
type Action string

// Akamai's two actions. Invalidate keeps the copies and makes the edge ask the origin
// whether they are still good. Delete drops them, so that the edge fetches the object
// again. Akamai recommends Invalidate.
const (
	Invalidate Action = "invalidate"
	Delete     Action = "delete"
)

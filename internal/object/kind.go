package object

// Kind is what an object is. Akamai takes one kind a request.
type Kind string

// The kinds of object. URL includes ARLs; a CP code is written in decimal.
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

// Action is what becomes of the cached copies.
type Action string

// Akamai's two actions. Invalidate keeps the copies and has the edge ask the
// origin whether they are still good; Delete drops them, so that the edge fetches
// the object anew. Akamai recommends Invalidate.
const (
	Invalidate Action = "invalidate"
	Delete     Action = "delete"
)

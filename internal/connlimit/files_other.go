//go:build !unix

package connlimit

// openFiles assumes that the process may open enough files: other systems have no such
// limit to ask for.
func openFiles() int { return 2 * defaultTotal }

//go:build !unix

package store

import "os"

// lockFile does nothing where there is no flock. There the operator must promise that
// only one process works on a SQLite file.
func lockFile(*os.File) error { return nil }

func unlockFile(*os.File) error { return nil }

// writable is always true where there is no access(2): a later write finds out.
func writable(string) bool { return true }

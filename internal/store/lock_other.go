//go:build !unix

package store

import "os"

// lockFile does nothing where there is no flock: one process a SQLite file
// is then the operator's promise.
func lockFile(*os.File) error { return nil }

func unlockFile(*os.File) error { return nil }

// writable is found out by writing, where there is no access(2).
func writable(string) bool { return true }

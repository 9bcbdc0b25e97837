//go:build unix

package store

import (
	"os"
	"syscall"
)

// lockFile locks an open file against other processes; the lock goes with the
// process, however it ends.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// unlockFile gives the lock up: closing the file alone does not, while a
// process that is just being started has it open too.
func unlockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// writable reports whether this user may write a file, or in a folder.
func writable(path string) bool {
	const write = 2 // W_OK
	return syscall.Access(path, write) == nil
}

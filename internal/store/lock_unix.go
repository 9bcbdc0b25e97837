//go:build unix

package store

import (
	"os"
	"syscall"
)

// lockFile locks an open file against other processes, and fails at once if another has
// it. The lock ends with the process, however that ends.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// unlockFile gives the lock up. Closing the file is not enough while a process that is
// just being started has it open too.
func unlockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// writable reports whether this user may write a file, or make files in a folder.
func writable(path string) bool {
	const write = 2 // W_OK
	return syscall.Access(path, write) == nil
}

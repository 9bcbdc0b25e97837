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

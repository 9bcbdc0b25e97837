//go:build unix

package connlimit

import "syscall"

// openFiles is how many files the process may have open, at most twice defaultTotal: more
// makes no difference.
func openFiles() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return defaultTotal
	}
	return int(min(uint64(limit.Cur), 2*defaultTotal)) //nolint:unconvert // some systems have it signed
}

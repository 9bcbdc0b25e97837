//go:build race

package main

// watched: the race detector uses several times the memory that the program uses, so
// bounds on memory mean nothing.
const watched = true

//go:build race

package main

// watched: the race detector keeps several times the memory that it watches,
// so that bounds of memory say nothing.
const watched = true

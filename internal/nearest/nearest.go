// Package nearest finds the known word that somebody may have meant who made a typing
// mistake.
package nearest

import "strings"

// longest bounds the words that are compared, in bytes. Distance takes time in proportion
// to the product of two lengths. A longer word counts as far from all others.
const longest = 60

// Word returns the known word that was very likely meant, without regard to case; "" if
// none is near enough. It allows about one mistake in three letters. Among equally near
// words the first one wins.
func Word(word string, known []string) string {
	if len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, bestAt := "", len(word)/3+1
	for _, k := range known {
		d := Distance(word, strings.ToLower(k))
		// One mistake more than that is allowed while nothing is found, if k keeps a
		// letter.
		if d < bestAt || d == bestAt && best == "" && d < len(k) {
			best, bestAt = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known { // prod for production, environment for environments
		folded := strings.ToLower(k)
		if len(word) >= 3 && (strings.HasPrefix(folded, word) || len(k) >= 3 && strings.HasPrefix(word, folded)) {
			return k
		}
	}
	return ""
}

// Distance returns how many letters must be added, dropped, changed or swapped with their
// neighbour to get from a to b (the optimal string alignment distance). If either has
// more than longest bytes, it returns longest, even for equal words.
func Distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	x, y := []rune(a), []rune(b)
	// Three rows of the table are enough: a swap looks back two rows, all else one.
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := last[j-1]
			if x[i-1] != y[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

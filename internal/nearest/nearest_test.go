package nearest_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/nearest"
)

func TestWord(t *testing.T) {
	known := []string{"production", "staging", "environments", "match"}
	for word, want := range map[string]string{
		"prod": "production", "Stagign": "staging", "environment": "environments", "mach": "match", "x": "", "": "", "zzzzzz": "",
	} {
		if got := nearest.Word(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"abc", "acb", 1}, {"über", "uber", 1}, {"retry", "rety", 1}, {"abc", "abc", 0}} {
		if got := nearest.Distance(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

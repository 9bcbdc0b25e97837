package store

import (
	"database/sql/driver"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPositional(t *testing.T) {
	for name, test := range map[string]struct {
		query, plain string
		order        []int
	}{
		"none":                      {"SELECT 1", "SELECT 1", nil},
		"in order":                  {"VALUES ($1,$2)", "VALUES (?,?)", []int{1, 2}},
		"one twice, out of order":   {"a = $2 AND (b = $1 OR c = $2)", "a = ? AND (b = ? OR c = ?)", []int{2, 1, 2}},
		"more than nine":            {"$10$1", "??", []int{10, 1}},
		"in a text":                 {"a = '$1' AND b = $1", "a = '$1' AND b = ?", []int{1}},
		"behind a quote in a text":  {"a = 'it''s $2' AND b = $1", "a = 'it''s $2' AND b = ?", []int{1}},
		"no number":                 {"a = $x AND $", "a = $x AND $", nil},
		"of River, by its own sign": {"a = ?1 AND b = ?2", "a = ?1 AND b = ?2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			plain, order := positional(test.query)
			if diff := cmp.Diff(test.order, order); plain != test.plain || diff != "" {
				t.Errorf("%s (-want +got):\n%s", plain, diff)
			}
		})
	}
}

func TestArrange(t *testing.T) {
	s := &statement{order: []int{2, 1, 2}}
	given := []driver.NamedValue{{Ordinal: 1, Value: "a"}, {Ordinal: 2, Value: "b"}}
	want := []driver.NamedValue{{Ordinal: 1, Value: "b"}, {Ordinal: 2, Value: "a"}, {Ordinal: 3, Value: "b"}}
	if diff := cmp.Diff(want, s.arrange(given)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.arrange(given[:1]); len(got) != 1 {
		t.Errorf("one is missing, and %d are given", len(got))
	}
}

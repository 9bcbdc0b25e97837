package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"
)

// What GitHub takes as words it says nowhere in full. It is known to refuse
// characters above U+FFFF ("description doesn't accept 4-byte Unicode") and a
// context of more than 255 characters; those are never sent. What it refuses
// besides is sent in plainer words: the state is worth more than how it is put.

// statusContext is the most characters that GitHub takes as a status's context.
const statusContext = 255

// basic puts a mark in the place of what GitHub's statuses do not take.
func basic(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '\uFFFF' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// ascii leaves nothing in a text that anything could refuse.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= ' ' && r <= '~', r == '\n':
			return r
		default:
			return '?'
		}
	}, s)
}

// contextOf fits a status's context. What is cut ends in a part of its digest:
// two long names stay two.
func contextOf(s string) string {
	fitted := basic(s)
	if utf8.RuneCountInString(fitted) <= statusContext {
		return fitted
	}
	sum := sha256.Sum256([]byte(strings.ToLower(s))) // contexts compare without case
	tail := "…" + hex.EncodeToString(sum[:4])
	return string([]rune(fitted)[:statusContext-utf8.RuneCountInString(tail)]) + tail
}

// plainer lists the forms in which a status may be told, the plainest last.
func (s Status) plainer() []Status {
	s.Context, s.Description = contextOf(s.Context), basic(s.Description)
	plain, bare := s, s
	plain.Description, plain.TargetURL = ascii(s.Description), ""
	bare.Description, bare.TargetURL = string(s.State), ""
	return []Status{s, plain, bare}
}

// plainer lists the forms in which a check run may be told, the plainest last.
func (c CheckRun) plainer() []CheckRun {
	plain := c
	plain.Title, plain.Summary, plain.Text, plain.Annotations, plain.DetailsURL = ascii(c.Title), ascii(c.Summary), "", nil, ""
	return []CheckRun{c, plain}
}

// refusedWords reports whether GitHub refused what was written, not where.
func refusedWords(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindOther && e.Status == http.StatusUnprocessableEntity &&
		!strings.Contains(e.Message, "maximum number of statuses") // no words would help
}

// tell writes the first form that GitHub takes. One that it refuses is logged
// and counted: see [App.WordsRefused].
func tell[T any](ctx context.Context, a *App, forms []T, write func(T) error) (err error) {
	for _, form := range forms {
		if err = write(form); !refusedWords(err) {
			return err
		}
		a.refusals.Add(1)
		a.log.LogAttrs(ctx, slog.LevelWarn, "GitHub refused the words", slog.Any("err", err))
	}
	return err
}

// WordsRefused counts the statuses, check runs and comments whose words GitHub
// refused, since the start.
func (a *App) WordsRefused() int64 { return a.refusals.Load() }

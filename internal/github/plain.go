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

// GitHub does not document in full which texts it accepts. It is known to refuse
// characters above U+FFFF in a status ("description doesn't accept 4-byte Unicode") and a
// context of more than 255 characters; these are never sent. If GitHub refuses another
// text, it is sent again in plainer words: the state of a purge matters more than its
// wording.

// statusContext is the most characters that GitHub accepts in a status's context.
const statusContext = 255

// basic puts U+FFFD in the place of each character that GitHub's statuses do not accept.
func basic(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '\uFFFF' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// ascii leaves only printable ASCII and line breaks, which no rule about characters
// refuses.
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

// contextOf makes a status's context short enough. A name that is cut ends in a part of
// its digest, so that two long names with the same beginning stay two statuses.
func contextOf(s string) string {
	fitted := basic(s)
	if utf8.RuneCountInString(fitted) <= statusContext {
		return fitted
	}
	sum := sha256.Sum256([]byte(strings.ToLower(s))) // contexts compare without case
	tail := "…" + hex.EncodeToString(sum[:4])
	return string([]rune(fitted)[:statusContext-utf8.RuneCountInString(tail)]) + tail
}

// plainer lists the forms in which a status may be sent, the plainest last. The context
// stays the same in all of them: with another one it would be a second status.
func (s Status) plainer() []Status {
	s.Context, s.Description = contextOf(s.Context), basic(s.Description)
	plain, bare := s, s
	plain.Description, plain.TargetURL = ascii(s.Description), ""
	bare.Description, bare.TargetURL = string(s.State), ""
	return []Status{s, plain, bare}
}

// plainer lists the forms in which a check run may be sent, the plainest last. The plain
// one has no annotations: UpdateCheckRun may have sent some already and must not repeat
// them.
func (c CheckRun) plainer() []CheckRun {
	plain := c
	plain.Title, plain.Summary, plain.Text, plain.Annotations, plain.DetailsURL = ascii(c.Title), ascii(c.Summary), "", nil, ""
	return []CheckRun{c, plain}
}

// refusedWords reports whether GitHub refused the text that was written. A 422 about a
// missing commit has become kindNotFound, and one about too many statuses no words would
// help.
func refusedWords(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindOther && e.Status == http.StatusUnprocessableEntity &&
		!strings.Contains(e.Message, "maximum number of statuses")
}

// tell writes the first form that GitHub accepts. Each form that GitHub refuses is logged
// and counted: see [App.WordsRefused]. Any other error ends it, because other words would
// not help.
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

// WordsRefused counts, since the start, how often GitHub refused the words of a status,
// check run or comment.
func (a *App) WordsRefused() int64 { return a.refusals.Load() }

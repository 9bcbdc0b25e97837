package pipeline

import (
	"context"
	"time"
)

// askTime bounds the wait for GitHub's time. Without an answer the clock of this machine
// has to do.
const askTime = 5 * time.Second

// githubTime turns a moment of this server's clock into one of GitHub's. What GitHub
// records may only be compared with such moments. If GitHub's answers fit this clock, the
// moment is not changed. It may ask GitHub once, up to askTime.
func (p *Pipeline) githubTime(ctx context.Context, t time.Time) time.Time {
	if p.GitHub == nil {
		return t
	}
	if at := p.AtGitHub(t); !at.IsZero() {
		return at
	}
	asking, done := context.WithTimeout(ctx, askTime)
	p.GitHub.AskTime(asking)
	done()
	if at := p.AtGitHub(t); !at.IsZero() {
		return at
	}
	return t
}

// AtGitHub turns a moment of this server's clock into one of GitHub's, to about a second.
// It makes no call. Zero: no answer of GitHub's has told its time yet.
func (p *Pipeline) AtGitHub(t time.Time) time.Time {
	if p.GitHub == nil {
		return time.Time{}
	}
	least, most, known := p.GitHub.Ahead(p.Now())
	switch {
	case !known:
		return time.Time{}
	case least > 0, most < 0: // the earliest that it can be: a fact in doubt then counts as later, and is not missed
		return t.Add(least)
	default:
		return t
	}
}

// dueAt is the moment, by GitHub's clock, before which a success must not be planned: the
// rules let the environment settle. Zero: plan it at once, whatever any clock says.
func dueAt(recorded time.Time, settle time.Duration) time.Time {
	if settle == 0 {
		return time.Time{}
	}
	return recorded.Add(settle)
}

package pipeline

import (
	"context"
	"time"
)

// askTime bounds the wait for GitHub's time. Who doesn't get it goes by the
// clock that there is.
const askTime = 5 * time.Second

// githubTime turns a moment of this server's clock into one of GitHub's, which is
// the only one that what GitHub records is compared with. Where GitHub's
// answers fit this clock as it is, it is not corrected.
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

// AtGitHub turns a moment of this server's clock as it shows now into one of
// GitHub's, to about a second; zero: no answer has told its time yet.
func (p *Pipeline) AtGitHub(t time.Time) time.Time {
	if p.GitHub == nil {
		return time.Time{}
	}
	least, most, known := p.GitHub.Ahead(p.Now())
	switch {
	case !known:
		return time.Time{}
	case least > 0, most < 0: // the earliest that it can be: what came later is owed
		return t.Add(least)
	default:
		return t
	}
}

// dueAt is the moment, by GitHub's clock, before which a success that it
// recorded is not to be planned; zero: at once, whatever any clock says.
func dueAt(recorded time.Time, settle time.Duration) time.Time {
	if settle == 0 {
		return time.Time{}
	}
	return recorded.Add(settle)
}

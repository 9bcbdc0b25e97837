package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purgebot/purgebot/purger"
)

func TestProgressLine(t *testing.T) {
	tests := map[string]struct {
		total int
		at    purger.Progress
		want  string
	}{
		"values":         {4, purger.Progress{Read: 2, Accepted: 1}, "[======                  ] 1 of 4 URLs"},
		"still reading":  {0, purger.Progress{Read: 700, Accepted: 600}, "600 URLs accepted, still reading"},
		"list read":      {0, purger.Progress{Read: 800, Complete: true, Accepted: 600, Refused: 200}, "[========================] 600 of 800 URLs, 200 refused"},
		"trouble":        {0, purger.Progress{Read: 8, Complete: true, Trouble: "503 Service Unavailable", Wait: 7900 * time.Millisecond}, "[                        ] 0 of 8 URLs (503 Service Unavailable; again in 8s)"},
		"nothing at all": {0, purger.Progress{Complete: true}, "0 of 0 URLs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := &progress{noun: "URL", total: test.total, width: 80}
			if got := p.line(test.at); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, noun: "URL", width: 20, began: time.Now(), stop: func() {}}
	p.update(purger.Progress{Read: 700, Accepted: 600})
	p.update(purger.Progress{Read: 800, Accepted: 700}) // too soon to draw again
	p.end()
	if want := "\r\x1b[K600 URLs accepted, \r\x1b[K700 URLs accepted, \n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

// The line changes while nothing comes from Akamai: time passes, and a wait counts down.
func TestProgressMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{out: &out, noun: "URL", width: 80, began: time.Now()}
		p.move()
		p.update(purger.Progress{Read: 8, Complete: true, Accepted: 3, Trouble: "503", Wait: 8 * time.Second})
		<-time.After(3400 * time.Millisecond)
		p.end()
		for _, want := range []string{"again in 8s)", "again in 6s), 2s", "3 of 8 URLs (503; again in 5s), 3s"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it lacks %q: %q", want, out.String())
			}
		}
	})
}

func TestProgressInALog(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, noun: "URL", stop: func() {}}
	down := purger.Progress{Accepted: 600, Trouble: "503 Service Unavailable", Wait: 8 * time.Second}
	p.update(purger.Progress{Accepted: 600})
	p.update(down)
	p.update(down)
	p.end()
	if want := "purgebot: 503 Service Unavailable; trying again in 8s (600 accepted so far)\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

package github

import (
	"net/http"
	"testing"
	"time"
)

// The bounds learned from answers contain GitHub's true time, whatever is wrong with our
// clock.
func TestClockHoldsTheTruth(t *testing.T) {
	const flight = 40 * time.Millisecond
	for _, test := range []struct {
		name  string
		ahead []time.Duration // of GitHub's clock, at answers 300 ms apart
		want  time.Duration   // at the end
		width time.Duration   // of the bounds, at most
	}{
		{"clocks agree", []time.Duration{0, 0, 0, 0}, 0, 500 * time.Millisecond},
		{"one answer", []time.Duration{0}, 0, time.Second + flight},
		{"ours is 20 s fast", []time.Duration{-20 * time.Second, -20 * time.Second, -20 * time.Second, -20 * time.Second}, -20 * time.Second, 500 * time.Millisecond},
		{"an hour slow", []time.Duration{time.Hour}, time.Hour, time.Second + flight},
		{"set in between", []time.Duration{0, 0, 30 * time.Second}, 30 * time.Second, time.Second + flight},
	} {
		var c clock
		start := time.Now()
		for i, ahead := range test.ahead {
			sent := start.Add(time.Duration(i) * 300 * time.Millisecond)
			date := sent.Add(flight / 2).Add(ahead).UTC().Format(http.TimeFormat)
			c.heed(http.Header{"Date": {date}}, sent, sent.Add(flight))
		}
		least, most, known := c.ahead(time.Now())
		if slack := 100 * time.Millisecond; !known || least > test.want+slack || most < test.want-slack || most-least > test.width {
			t.Errorf("%s: GitHub's clock is %v to %v ahead, known %t; want %v", test.name, least, most, known, test.want)
		}
		// Our clock is set, and no answer has come since.
		if shifted, _, _ := c.ahead(time.Now().Add(-time.Hour)); (shifted - least - time.Hour).Abs() > time.Second {
			t.Errorf("%s: of a clock an hour slower GitHub's is %v ahead, and was %v", test.name, shifted, least)
		}
	}
}

func TestClockHeedsNoCache(t *testing.T) {
	var c clock
	c.heed(http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}, "Age": {"40"}}, time.Now(), time.Now())
	c.heed(http.Header{}, time.Now(), time.Now())
	if least, most, known := c.ahead(time.Now()); least != 0 || most != 0 || known {
		t.Errorf("learnt %v to %v, %t", least, most, known)
	}
}

package pipeline

import (
	"testing"
	"time"
)

func TestAlarmOnceAMinute(t *testing.T) {
	var a alarm
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	rung := 0
	for i := range 60 { // a probe every 5 s, for 5 minutes
		if a.due("", now.Add(time.Duration(i)*5*time.Second)) {
			rung++
		}
	}
	if !a.due("emea", now) {
		t.Error("another account's trouble is not told")
	}
	if rung != 5 {
		t.Errorf("%d lines in 5 minutes", rung)
	}
}

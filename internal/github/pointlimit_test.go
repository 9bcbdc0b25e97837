package github

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A server that tells of limits gets at most 880 points of calls a minute. Patient calls
// leave room for others and wait.
func TestPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pointLimit)
		spend := func(cost, most int) (calls int) {
			for calls < 2000 && p.take(time.Now(), cost, most) == 0 {
				calls++
			}
			return calls
		}
		if n := spend(readPoints, pointsAMinute); n != 2000 {
			t.Errorf("a server without limits is asked %d times", n)
		}
		p.heed(http.Header{"X-Ratelimit-Limit": {"5000"}})
		if n := spend(readPoints, patientPoints); n != patientPoints {
			t.Errorf("%d patient reads", n)
		}
		if n := spend(writePoints, pointsAMinute); n != (pointsAMinute-patientPoints)/writePoints {
			t.Errorf("%d writes beside", n)
		}
		began := time.Now()
		if err := p.await(Patient(t.Context())); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a patient call waited %v, %v", time.Since(began), err)
		}
		if n := spend(readPoints, pointsAMinute); n != pointsAMinute {
			t.Errorf("%d reads a minute later", n)
		}
		began = time.Now()
		if err := p.await(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("an impatient call waited %v, %v", time.Since(began), err)
		}
		if left := p.left(time.Now(), readPoints, pointsAMinute); left != time.Minute {
			t.Errorf("%v until there is room", left)
		}
	})
}

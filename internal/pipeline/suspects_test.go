package pipeline

import (
	"testing"

	"github.com/purgebot/purgebot/internal/store"
)

// A person who floods a repository leaves a worker to the other people in it.
func TestAPersonHoldsLessThanARepository(t *testing.T) {
	s := newShares(2)
	if !s.enter(store.HandleJob{GUID: "one"}, ownersOf(1, 666)) || s.enter(store.HandleJob{GUID: "two"}, ownersOf(1, 666)) {
		t.Error("the flood holds two workers, or none")
	}
	if !s.enter(store.HandleJob{GUID: "other"}, ownersOf(1, 7)) {
		t.Error("another person waits for the flood")
	}
}

// Deliveries over which the process died are handled one at a time, in whichever
// repository. No other delivery waits for them.
func TestSuspectsAreHandledOneAtATime(t *testing.T) {
	s := newShares(2)
	one, two := append(ownersOf(1, 0), suspects()), append(ownersOf(2, 0), suspects())
	if !s.enter(store.HandleJob{GUID: "one"}, one) || s.enter(store.HandleJob{GUID: "two"}, two) {
		t.Error("two at a time, or none")
	}
	if !s.enter(store.HandleJob{GUID: "other"}, ownersOf(2, 0)) {
		t.Error("who is not suspected waits")
	}
	if next := s.leave(one); next != (store.HandleJob{GUID: "two"}) {
		t.Errorf("woken: %v", next)
	}
	if !s.enter(store.HandleJob{GUID: "two"}, two) {
		t.Error("nobody is at work, and it waits")
	}
}

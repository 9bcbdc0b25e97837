package pipeline

import "fmt"

// Outcome is what a delivery, or a fact that a comparison found, led to. Code may decide
// by the result; the words are only for the operator. The zero value says that nothing is
// known against a fact yet: see counts.
type Outcome struct {
	result result
	words  string // of other
}

// result is the part of an outcome that code decides by.
type result int

const (
	other        result = iota // only the words say it
	desired                    // what is desired moved
	known                      // the same fact was stored before
	overtaken                  // a newer fact stands
	deployFailed               // a failure: desired stays
)

// otherwise is an outcome that no code decides by, such as why a fact does not count.
func otherwise(format string, args ...any) Outcome {
	return Outcome{words: fmt.Sprintf(format, args...)}
}

// saidAs makes an outcome of a verb that only has words.
func saidAs(words string, err error) (Outcome, error) { return Outcome{words: words}, err }

// counts reports whether a fact counts: the zero outcome says nothing against it.
func (o Outcome) counts() bool { return o == Outcome{} }

// with is the outcome of a fact that is about several environments, after one more of
// them: what moved one tells more than why it did not move another.
func (o Outcome) with(next Outcome) Outcome {
	if o.result == other || next.result == desired {
		return next
	}
	return o
}

// String gives the outcome in a word or two, as logs and the list of deliveries show it.
func (o Outcome) String() string {
	switch o.result {
	case desired:
		return "desired"
	case known:
		return "known already"
	case overtaken:
		return "overtaken"
	case deployFailed:
		return "deploy failed"
	case other:
	}
	return o.words
}

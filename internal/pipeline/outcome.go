package pipeline

import "fmt"

// An Outcome is what a delivery, or a fact that a comparison found, came to.
// Code goes by the result; words are for the operator.
type Outcome struct {
	result result
	words  string // of other
}

type result int

const (
	other        result = iota // the words say what
	desired                    // what is desired moved
	known                      // it was told before
	overtaken                  // a newer fact counts
	deployFailed               // nothing was deployed
)

// otherwise is an outcome that nothing goes by, such as why a fact does not
// count.
func otherwise(format string, args ...any) Outcome {
	return Outcome{words: fmt.Sprintf(format, args...)}
}

// saidAs is the outcome of a verb that nothing goes by.
func saidAs(words string, err error) (Outcome, error) { return Outcome{words: words}, err }

// counts reports whether nothing was said against a fact yet.
func (o Outcome) counts() bool { return o == Outcome{} }

// String says it in a word or two, as logs and the list of deliveries show it.
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

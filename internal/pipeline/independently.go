package pipeline

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/purgebot/purgebot/internal/github"
)

// independently does something with every one of several independent things: a fault of
// one alone hides none of the others, and is told once. What concerns all of
// them (GitHub's limit or silence, the database, the end of ctx) ends the loop at
// once and is then the whole error: the same may succeed later.
func independently[T any](ctx context.Context, things iter.Seq[T], do func(T) error) error {
	var faults []error
	for thing := range things {
		err := do(thing)
		switch {
		case err == nil:
		case concernsAll(ctx, err):
			return err
		case !slices.ContainsFunc(faults, func(told error) bool { return told.Error() == err.Error() }):
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func concernsAll(ctx context.Context, err error) bool {
	_, waitable := github.RetryAfter(err)
	return waitable || inTrouble(err) || ctx.Err() != nil
}

package pipeline

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/purgebot/purgebot/internal/github"
)

// independently calls do for each of several independent things. A fault of one hides
// none of the others; equal faults are returned once. An error that concerns all of them
// ends the loop at once and is returned alone: GitHub's limit or silence, trouble with
// the database, the end of ctx. The caller tries again later, so do may be called twice
// for one thing.
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

// concernsAll reports whether an error would meet every other call as well, and passes by
// itself.
func concernsAll(ctx context.Context, err error) bool {
	_, waitable := github.RetryAfter(err)
	return waitable || inTrouble(err) || ctx.Err() != nil
}

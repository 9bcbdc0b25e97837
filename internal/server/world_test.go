package server_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
)

// world is a stage with a site on it; see [servertest.New].
type world struct{ *servertest.World }

func newWorld(t *testing.T, change func(*stage.Config)) (*world, string) {
	t.Helper()
	w, first := servertest.New(t, change)
	return &world{w}, first
}

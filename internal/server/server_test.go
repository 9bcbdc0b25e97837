package server_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/stage"
)

func TestPushDeployPurgeStatus(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success") // before the server: where it starts from
	w.Begin()
	second := w.Commit("second", map[string]string{
		"content/index/home.md": "new home", "content/about/us.md": stage.Removed, "content/about/team.md": "us", "layouts/base.html": "new",
	})
	w.Push(second)
	w.Await(second, "production", "success", "6 URLs, 1 tag will be purged when production deploys")
	w.WantSent()

	id := w.Deploy("production", second, "in_progress")
	w.State(id, "failure")
	w.Await(second, "production", "success", "Deploy failed: 6 URLs, 1 tag will be purged after the next successful one")
	w.WantSent()

	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "6 URLs, 1 tag purged in ")
	w.WantSent(
		"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/",
		"production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url https://www.acme.com/about/team/", "production invalidate url https://m.acme.com/about/team/",
		"production invalidate tag acme-shell",
	)
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// A delivery that ends the whole process is handled three times and then set aside. The
// deliveries that were at work at the same time are done.
func TestSecurityDeliveryThatKillsIsSetAside(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) string{
		"sqlite":   func(*testing.T) string { return "sqlite:./purgebot.db" },
		"postgres": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, nil)
			w.People()
			w.Deploy("production", first, "success")
			config := w.filesWith(database(t))
			// A process may ask before it is known here that it serves.
			running := make(chan *process, 1)
			running <- w.spawn(config)
			number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
			deaths := make(chan struct{}, 10)
			w.GitHub.Fault(func(r *http.Request) (f github.Fault) {
				if strings.HasSuffix(r.URL.Path, "/collaborators/mona/permission") {
					f.Drop = true
					select {
					case p := <-running:
						p.kill()
						deaths <- struct{}{}
					case <-r.Context().Done():
					}
				}
				return f
			})
			second := w.Home("3")
			w.GitHub.Route(func(github.Delivery) github.Route { return github.Hold })
			w.Deploy("production", second, "success")
			w.Say(number, "walt", "/purge https://www.acme.com/walt/")
			w.Say(number, "mona", "/purge https://www.acme.com/mona/")
			w.GitHub.Release(t.Context())
			for range 3 {
				<-deaths
				running <- w.spawn(config)
			}
			for _, words := range []string{"purgebot itself ended over it, three times", "1 URL purged"} {
				w.Awaits("a reply with "+words, func() bool {
					return slices.ContainsFunc(w.Replies(number), func(c github.Comment) bool { return strings.Contains(c.Body, words) })
				})
			}
			w.Await(second, "production", "success", "2 URLs purged")
			if len(deaths) > 0 {
				t.Errorf("it ended the process %d times more", len(deaths))
			}
			// The person is told first: the delivery is set aside only then.
			last := <-running
			w.Eventually("the metrics know of a delivery that is set aside", func() bool {
				_, text := last.get("/metrics")
				return strings.Contains(text, "purgebot_deliveries_set_aside 1")
			})
		})
	}
}

package edge_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/purger"
)

// site is an edge, its origin and a clock.
type site struct {
	*edge.Edge
	origin *edge.Origin
	clock  time.Time
}

func newSite(cfg edge.Config) *site {
	s := &site{origin: edge.NewOrigin(), clock: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	cfg.Origin, cfg.Now = s.origin, func() time.Time { return s.clock }
	s.Edge = edge.New(cfg)
	return s
}

// read is a reader's request. It returns the result in X-Cache and the body.
func (s *site) read(server int, url string, header ...string) string {
	r := httptest.NewRequest("GET", url, nil)
	r.Header.Set("Pragma", "akamai-x-cache-on, akamai-x-cache-remote-on")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.Server(server).ServeHTTP(w, r)
	words := []string{}
	for _, name := range []string{"X-Cache", "X-Cache-Remote"} {
		if result, _, _ := strings.Cut(w.Header().Get(name), " "); result != "" {
			words = append(words, result)
		}
	}
	if w.Header().Get("Content-Encoding") == "" {
		words = append(words, strings.TrimSpace(w.Body.String()))
	}
	return strings.Join(words, " ")
}

func (s *site) deploy(path, body string, tags ...string) {
	s.origin.Deploy(map[string]edge.Page{path: {Body: body, Modified: s.clock, Tags: tags}})
}

func (s *site) purge(action, kind string, objects ...string) {
	s.Purged(akamai.Purge{Network: "production", Action: action, Kind: kind, Objects: objects, Takes: 5 * time.Second})
}

const page = "http://www.acme.example/a"

func TestPurgesActAfterTheirEstimate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		action, kind, object string
		want                 string
	}{
		"invalidate a URL": {"invalidate", "url", page, "TCP_REFRESH_MISS TCP_REFRESH_MISS new"},
		"delete a URL":     {"delete", "url", page, "TCP_MISS TCP_MISS new"},
		"the other scheme": {"delete", "url", "https://www.acme.example/a", "TCP_MISS TCP_MISS new"},
		"an ARL":           {"delete", "url", "/L/512/6848/1h/www.acme.example/a", "TCP_MISS TCP_MISS new"},
		"another URL":      {"delete", "url", page + "b", "TCP_HIT old"},
		"another case":     {"delete", "url", "http://www.acme.example/A", "TCP_HIT old"},
		"a query":          {"delete", "url", page + "?x=1", "TCP_HIT old"},
		"a tag":            {"invalidate", "tag", "news", "TCP_REFRESH_MISS TCP_REFRESH_MISS new"},
		"a tag's case":     {"invalidate", "tag", "News", "TCP_HIT old"},
		"a CP code":        {"invalidate", "cpcode", "42", "TCP_REFRESH_MISS TCP_REFRESH_MISS new"},
		"another CP code":  {"invalidate", "cpcode", "12345", "TCP_HIT old"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(edge.Config{CPCodes: map[string]int{"/a": 42}})
			s.deploy("/a", "old", "shop", "news")
			s.clock = s.clock.Add(time.Minute)
			got := []string{s.read(0, page)}
			s.deploy("/a", "new", "shop", "news")
			s.purge(tt.action, tt.kind, tt.object)
			got = append(got, s.read(0, page))
			s.clock = s.clock.Add(4 * time.Second)
			got = append(got, s.read(0, page))
			s.clock = s.clock.Add(time.Second)
			got = append(got, s.read(0, page))
			if diff := cmp.Diff([]string{"TCP_MISS TCP_MISS old", "TCP_HIT old", "TCP_HIT old", tt.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTiersAndCopies(t *testing.T) {
	t.Parallel()
	s := newSite(edge.Config{Servers: 2, TTL: time.Hour})
	s.deploy("/a", "old")
	got := []string{
		s.read(0, page), s.read(1, page), s.read(1, page), // the parent fills the second one
		s.read(0, page, "Accept-Encoding: gzip"), // has a copy of its own
		s.read(0, "http://www.acme.example//a"),  // the same key
		s.read(0, page+"?x=1"),
		s.read(0, "http://www.acme.example/none"), s.read(0, "http://www.acme.example/none"),
	}
	s.clock = s.clock.Add(2 * time.Hour)
	got = append(got, s.read(0, page), s.read(0, page)) // asked again, and not modified
	s.origin.Sicken(1)
	s.clock = s.clock.Add(2 * time.Hour)
	got = append(got, s.read(0, page))
	s.origin.Sicken(0)
	s.deploy("/a", "rollback")
	s.origin.Deploy(map[string]edge.Page{"/a": {Body: "rollback", Modified: s.clock.Add(-240 * time.Hour)}})
	s.purge("invalidate", "url", page)
	s.clock = s.clock.Add(time.Minute)
	got = append(got, s.read(0, page)) // an older date is "not modified"
	s.purge("delete", "url", page)
	s.clock = s.clock.Add(time.Minute)
	got = append(got, s.read(0, page))
	want := []string{
		"TCP_MISS TCP_MISS old", "TCP_MISS TCP_HIT old", "TCP_HIT old",
		"TCP_MISS TCP_MISS", "TCP_HIT old", "TCP_MISS TCP_MISS old",
		"TCP_MISS TCP_MISS 404 page not found", "TCP_NEGATIVE_HIT 404 page not found",
		"TCP_REFRESH_HIT TCP_REFRESH_HIT old", "TCP_HIT old", "TCP_REFRESH_HIT TCP_REFRESH_FAIL_HIT old",
		"TCP_REFRESH_HIT TCP_REFRESH_HIT old", "TCP_MISS TCP_MISS rollback",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A purge that Akamai's stand-in accepts over its API reaches the edge. A refused purge,
// or one for the other network, does not.
func TestAcceptedPurgesReachTheEdge(t *testing.T) {
	t.Parallel()
	s := newSite(edge.Config{})
	ccu := akamai.New(akamai.Config{Purged: s.Purged, Estimate: time.Second, Hosts: []string{"www.acme.example"}})
	server := httptest.NewServer(ccu)
	t.Cleanup(server.Close)
	c := ccu.Credentials()
	client, err := purger.New(purger.Config{BaseURL: server.URL, Credentials: purger.NewCredentials(edgegrid.Config{
		Host: "akamai.test", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret, AccessToken: c.AccessToken, MaxBody: 131_072,
	})})
	if err != nil {
		t.Fatal(err)
	}
	s.deploy("/a", "old")
	s.read(0, page)
	s.deploy("/a", "new")
	send := func(n purger.Network, objects ...string) {
		client.Send(t.Context(), purger.Request{Kind: purger.URL, Network: n, Action: purger.Delete, Objects: objects})
		s.clock = s.clock.Add(time.Second)
	}
	send(purger.Staging, page)
	send(purger.Production, page, "http://www.other.example/")
	if got := s.read(0, page); got != "TCP_HIT old" {
		t.Errorf("a purge that was not for it: %s", got)
	}
	send(purger.Production, page)
	if got := s.read(0, page); got != "TCP_MISS TCP_MISS new" {
		t.Errorf("its purge: %s", got)
	}
}

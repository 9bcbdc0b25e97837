package web

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/metrics"
	"github.com/purgebot/purgebot/internal/pipeline"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
)

const apiSecret = "the webhook's secret"

// served is an API on a store of its own.
type served struct {
	*testing.T
	store *store.Store
	http  *httptest.Server
}

// serveAPI serves an API whose policy allows the hosts of acme.com.
func serveAPI(t *testing.T, secrets ...string) *served {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: storetest.SQLite(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	entry := policy.NewEntry()
	entry.Repositories, entry.Hosts = []string{"acme/*"}, []string{"*.acme.com"}
	purges := pipeline.New(pipeline.Config{Store: s, GitHub: &github.App{}, Policy: func() policy.Policy { return policy.Policy{entry} }})
	w, err := New(Config{
		Ledger: &s.Reader, Secrets: func() []string { return secrets }, PublicURL: "https://purgebot.acme.com",
		Metrics: metrics.New(&s.Reader, s.Ready, slog.New(slog.DiscardHandler), append(purges.Metrics(), metrics.BuildInfo("v1.2.3", "abc"))...),
		Act:     purges.Act, Pause: s.Pause, Resume: s.Resume,
	})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	w.Routes(e)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return &served{t, s, server}
}

// answer is an answer with its body.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
}

// call makes a request and returns the answer and its body.
func (s *served) call(method, path, body string, header ...string) (answer, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.http.Client().Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer{res.Status, res.StatusCode, res.Header}, string(text)
}

func bearer(secret string) []string {
	return []string{"Authorization", "Bearer " + OperatorToken(secret)}
}

// asked makes a request with the token, wants the status, and decodes the document.
func (s *served) asked(code int, method, path, body string, into any) {
	s.Helper()
	res, text := s.call(method, path, body, bearer(apiSecret)...)
	if res.StatusCode != code || res.Header.Get("Content-Type") != "application/json" {
		s.Fatalf("%s %s: %s, %s", method, path, res.Status, text)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		s.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
}

// planned makes a purge of these URLs, held or open.
func (s *served) planned(hold bool, urls ...string) ledger.Purge {
	s.Helper()
	ctx := s.Context()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	_, err := s.store.SeeRepository(ctx, ledger.Repository{ID: 7, Owner: "acme", Name: "site", FirstSeen: time.Now()})
	must(err)
	env, err := s.store.EnsureEnvironment(ctx, 7, "production")
	must(err)
	p, err := s.store.Begin(ctx, ledger.Purge{
		RepoID: 7, EnvID: env.ID, Environment: "production", Cause: ledger.CauseDeploy, To: ledger.Point{SHA: "abc"},
		Network: mapping.Production, Lane: ledger.LaneDeploy, Note: "limit 1",
	})
	must(err)
	var targets []mapping.Target
	for _, u := range urls {
		t := mapping.Target{Kind: mapping.URL, Action: mapping.Invalidate, Object: u, Rule: "pages", Path: "a\n.md"}
		if strings.Contains(u, "evil.com") {
			t.Reason = "refused before"
		}
		targets = append(targets, t)
	}
	must(s.store.AddTargets(ctx, p, slices.Values(targets), func(g mapping.Target) string { return g.Reason }))
	_, err = s.store.Commit(ctx, store.Move{Env: env, To: p.To, Purge: &p, Hold: hold, Context: "purge/production"})
	must(err)
	p, err = s.store.Purge(ctx, p.ID)
	must(err)
	return p
}

func TestAPIIsTheOperatorsAlone(t *testing.T) {
	s := serveAPI(t, "current", apiSecret)
	p := s.planned(false, "https://www.acme.com/")
	nobody := serveAPI(t, "")
	for _, r := range append(new(Web).operations(), operation{method: "GET", path: "/api/nothing"}, operation{method: "DELETE", path: "/api/queue"}) {
		path := strings.Replace(r.path, "{id}", p.ID, 1)
		for name, header := range map[string][]string{
			"no token":         nil,
			"another's token":  bearer("another secret"),
			"the secret":       {"Authorization", "Bearer " + apiSecret},
			"another scheme":   {"Authorization", "Basic " + OperatorToken(apiSecret)},
			"no scheme":        {"Authorization", OperatorToken(apiSecret)},
			"empty":            {"Authorization", "Bearer "},
			"a token and more": {"Authorization", "Bearer " + OperatorToken(apiSecret) + " x"},
		} {
			res, text := s.call(r.method, path, "", header...)
			if res.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(text, `{"error":"the operator's token is missing or wrong`) ||
				res.Header.Get("WWW-Authenticate") == "" || strings.Contains(text, "acme") {
				t.Errorf("%s %s with %s: %s, %s", r.method, path, name, res.Status, text)
			}
		}
		if res, text := nobody.call(r.method, path, "", bearer("")...); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s of a server without a secret: %s, %s", r.method, path, res.Status, text)
		}
	}
	for _, secret := range []string{"current", apiSecret} {
		if res, text := s.call("GET", "/api/queue", "", bearer(secret)...); res.StatusCode != http.StatusOK {
			t.Errorf("with the token of %s: %s, %s", secret, res.Status, text)
		}
	}
	if got, err := s.store.Purge(t.Context(), p.ID); err != nil || got.State != ledger.Open {
		t.Errorf("somebody without a token changed the purge: %v, %v", got.State, err)
	}
}

func TestAPIRefusesAnotherSitesPage(t *testing.T) {
	s := serveAPI(t, apiSecret)
	p := s.planned(true, "https://www.acme.com/")
	res, text := s.call("POST", "/api/purges/"+p.ID+"/release", "", append(bearer(apiSecret), "Sec-Fetch-Site", "cross-site")...)
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("%s, %s", res.Status, text)
	}
}

func TestAPIReadsABoundedBody(t *testing.T) {
	s := serveAPI(t, apiSecret)
	p := s.planned(true, "https://www.acme.com/")
	for name, test := range map[string]struct {
		body string
		code int
	}{
		"too long":           {`{"by":"` + strings.Repeat("a", 8<<10) + `"}`, http.StatusRequestEntityTooLarge},
		"too long behind it": {`{"by":"a"}` + strings.Repeat(" ", 8<<10), http.StatusRequestEntityTooLarge},
		"not JSON":           {"by=ann", http.StatusBadRequest},
		"cut short":          {`{"by":`, http.StatusBadRequest},
		"of another kind":    {`["ann"]`, http.StatusBadRequest},
		"a wrong type":       {`{"by":7}`, http.StatusBadRequest},
		"a retry's alone":    {`{"reason":"no"}`, http.StatusBadRequest},
		"an unknown field":   {`{"as":"ann"}`, http.StatusBadRequest},
		"two of them":        {`{"by":"ann"}{"by":"bob"}`, http.StatusBadRequest},
		"a long name":        {`{"by":"` + strings.Repeat("a", 61) + `"}`, http.StatusBadRequest},
		"two lines":          {`{"by":"ann\nbob"}`, http.StatusBadRequest},
	} {
		var said Problem
		s.asked(test.code, "POST", "/api/purges/"+p.ID+"/release", test.body, &said)
		if said.Error == "" {
			t.Errorf("%s: no words", name)
		}
	}
	var done Acted
	s.asked(http.StatusOK, "POST", "/api/purges/"+p.ID+"/release", "", &done)
	if done.Purge.State != "open" {
		t.Errorf("released: %+v", done)
	}
	if got, err := s.store.Purge(t.Context(), p.ID); err != nil || got.Note != "released by the operator" {
		t.Errorf("note %q, %v", got.Note, err)
	}
}

func TestAPIActsOnce(t *testing.T) {
	s := serveAPI(t, apiSecret)
	bad := s.planned(false, "https://www.evil.com/")
	open := s.planned(false, "https://www.acme.com/")
	for _, test := range []struct {
		purge, verb, body string
		code              int
		want              string
	}{
		{bad.ID, "retry", "", http.StatusConflict, "every refused object is still refused: policy doesn't allow host www.evil.com for acme/site"},
		{open.ID, "retry", "", http.StatusConflict, "no object of this purge was refused"},
		{open.ID, "release", "", http.StatusConflict, "this purge is open, not held"},
		{"01ARZ3NDEKTSV4RRFFQ69G5FAV", "cancel", "", http.StatusNotFound, "there is no purge"},
		{open.Key, "cancel", `{"by":"ann"}`, http.StatusOK, "cancelled by ann, 1 not purged"},
		{open.ID, "cancel", `{"by":"ann"}`, http.StatusConflict, "this purge is cancelled already"},
		{open.ID, "retry", "", http.StatusConflict, "this purge is cancelled, and only an open or done one"},
	} {
		res, text := s.call("POST", "/api/purges/"+test.purge+"/"+test.verb, test.body, bearer(apiSecret)...)
		if res.StatusCode != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s: %s, want %d with %q: %s", test.verb, res.Status, test.code, test.want, text)
		}
	}
}

func TestWhatWaitsComesBeforeWhatIsFine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  Environment
		want int
	}{
		"in sync":        {Environment{Reconciled: true, Purges: []Purge{{State: "done", Result: "success"}}}, 2},
		"nothing purged": {Environment{Reconciled: true}, 2},
		"being purged":   {Environment{Reconciled: true, Purges: []Purge{{State: "open", Result: "pending"}}}, 1},
		"to be planned":  {Environment{Purges: []Purge{{State: "done", Result: "success"}}}, 1},
		"held":           {Environment{Reconciled: true, Held: "12 URLs"}, 0},
		"refused a part": {Environment{Reconciled: true, Purges: []Purge{{State: "open", Result: "pending", Failed: 1}}}, 0},
		"at fault":       {Environment{Fault: "no rules"}, 0},
	} {
		if got := test.env.urgency(); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestAPIStatusAndQueue(t *testing.T) {
	s := serveAPI(t, apiSecret)
	var status Status
	s.asked(http.StatusOK, "GET", "/api/status", "", &status)
	if len(status.Environments) != 0 || status.Pause != nil {
		t.Errorf("of an empty ledger: %+v", status)
	}
	s.planned(false, "https://www.acme.com/a", "https://www.acme.com/b", "https://www.evil.com/")
	held := s.planned(true, "https://www.acme.com/c")
	s.asked(http.StatusOK, "GET", "/api/status?repo=ACME/site&env=Production", "", &status)
	if len(status.Environments) != 1 || len(status.Environments[0].Purges) != 2 || status.Environments[0].Purges[0].ID != held.ID ||
		status.Environments[0].Held != "1 URL" {
		t.Errorf("status: %+v", status)
	}
	if _, err := s.store.EnsureEnvironment(t.Context(), 7, "a fine one"); err != nil {
		t.Fatal(err)
	}
	s.asked(http.StatusOK, "GET", "/api/status", "", &status)
	if len(status.Environments) != 2 || status.Environments[0].Environment != "production" {
		t.Errorf("what needs approval does not come first: %+v", status.Environments)
	}
	if _, text := s.call("GET", "/", ""); !strings.Contains(text, "1 object to approve, 2 objects to send") {
		t.Errorf("the index page: %s", text)
	}
	var queue Queue
	s.asked(http.StatusOK, "GET", "/api/queue", "", &queue)
	if len(queue.Waiting) == 1 {
		queue.Waiting[0].Since = time.Time{}
	}
	want := Queue{
		Accounts: []Account{{Account: "default", Objects: 2}},
		At:       queue.At, SetAside: []SetAside{}, Statuses: 2, Waiting: []Waiting{{Account: "default", Kind: "url", Lane: "deploys", Objects: 2}}, Requests: []Requests{},
		Held: Held{Purges: 1, Objects: 1}, Pauses: []Paused{}, Purges: queue.Purges,
		Budget: []Bucket{
			{"default", "requests", 100, 100, 50},
			{"default", "url", 10000, 10000, 200},
			{"default", "tag", 5000, 5000, 500.0 / 60},
			{"default", "cpcode", 300, 300, 0.5},
		},
	}
	if diff := cmp.Diff(want, queue); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	if len(queue.Purges) != 2 || queue.Purges[1].URL != "https://purgebot.acme.com/purges/"+held.Key {
		t.Errorf("the queue's purges: %+v", queue.Purges)
	}
	var said Problem
	for path, code := range map[string]int{
		"/api/status?repo=acme":              http.StatusBadRequest,
		"/api/status?repo=acme/site/x":       http.StatusBadRequest,
		"/api/status?repo=acme/other":        http.StatusNotFound,
		"/api/status?env=preview":            http.StatusNotFound,
		"/api/purges/" + held.ID + "?from=x": http.StatusBadRequest,
		"/api/purges/x":                      http.StatusNotFound,
		"/api/purge":                         http.StatusNotFound,
	} {
		s.asked(code, "GET", path, "", &said)
	}
}

func TestAPIPurgeIsPaged(t *testing.T) {
	s := serveAPI(t, apiSecret)
	var urls []string
	for i := range pageTargets + 2 {
		urls = append(urls, fmt.Sprintf("https://www.acme.com/%d", i))
	}
	p := s.planned(false, urls...)
	var got []string
	next, pages := int64(0), 0
	for {
		var page PurgeDetail
		s.asked(http.StatusOK, "GET", fmt.Sprintf("/api/purges/%s?from=%d", strings.ToLower(p.ID), next), "", &page)
		for _, o := range page.Objects {
			got = append(got, o.Object)
			if o.Path != `"a\n.md"` || o.State != "waiting" {
				t.Fatalf("object: %+v", o)
			}
		}
		pages++
		if next = page.Next; next == 0 {
			break
		}
	}
	if diff := cmp.Diff(urls, got); diff != "" || pages != 2 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
}

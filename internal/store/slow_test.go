package store_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/purger"
)

// inProcess answers without a socket: in a bubble, waiting costs nothing.
type inProcess struct{ http.Handler }

// RoundTrip implements http.RoundTripper. It ends with the request's context, though the
// handler goes on, as a real server would.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.Host, in.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "192.0.2.1:1234"
	done := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, in)
		done <- w.Result()
	}()
	select {
	case res := <-done:
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// Akamai is slower, for every request, than an attempt may usually take. Each object is
// sent only a few times: a queue that gave up each time would send it for ever. Once
// Akamai is quick again, an attempt takes no longer than usual.
func TestSlowAkamaiIsNotSentForEver(t *testing.T) {
	url := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		delay := 12 * time.Second
		a := akamai.New(akamai.Config{})
		a.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Delay: delay} })
		c := a.Credentials()
		client, err := purger.New(purger.Config{
			BaseURL: "http://akamai.test", HTTP: &http.Client{Transport: inProcess{a}},
			Credentials: purger.NewCredentials(edgegrid.Config{
				Host: "akamai.test", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret, AccessToken: c.AccessToken,
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, url, time.Now)
		send := func() *store.Request {
			r, wait, err := s.Claim(t.Context(), "", purger.URL)
			if err != nil {
				t.Fatal(err)
			}
			if r == nil {
				<-time.After(max(wait, time.Millisecond))
				return nil
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), r.Limit)
			answer := client.Send(ctx, r.Request)
			cancel()
			settle(t, s, r, store.Reply{Answer: answer, At: time.Now(), Took: time.Since(began)})
			return r
		}
		sends := 0
		for range 5 {
			p := opened(t, s, ledger.LaneDeploy, urls(2))
			for end := time.Now().Add(5 * time.Minute); p.State != ledger.Done; p = reread(t, s, p.ID) {
				if time.Now().After(end) {
					t.Fatalf("after five minutes and %d attempts: %+v", sends, p.Counts)
				}
				if send() != nil {
					sends++
				}
			}
			if p.Counts.Accepted != 2 {
				t.Errorf("%+v", p.Counts)
			}
		}
		if sends > 6 {
			t.Errorf("%d requests for five purges", sends)
		}
		delay = 0
		var last *store.Request
		for range 3 {
			opened(t, s, ledger.LaneDeploy, urls(2))
			for last = nil; last == nil; last = send() {
			}
		}
		if last.Limit != purger.SendTime {
			t.Errorf("quick again, and an attempt may take %v", last.Limit)
		}
	})
}

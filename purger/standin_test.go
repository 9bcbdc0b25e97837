package purger_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

// inProcess carries requests to a handler without a socket, so that both ends can live in
// a synctest bubble, where waiting takes no time. If the handler panics, the connection
// is cut, as a server does.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.WroteHeaders()
	}
	in := r.Clone(r.Context())
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	in.RemoteAddr = "192.0.2.1:1234"
	type result struct {
		res *http.Response
		cut bool
	}
	done := make(chan result, 1)
	go func() {
		w := httptest.NewRecorder()
		defer func() {
			if recover() != nil {
				done <- result{cut: true}
			}
		}()
		p.ServeHTTP(w, in)
		done <- result{res: w.Result()}
	}()
	select {
	case d := <-done:
		if d.cut {
			return nil, io.ErrUnexpectedEOF
		}
		return d.res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func credentialsOf(a *akamai.Server) purger.Credentials {
	c := a.Credentials()
	return purger.NewCredentials(edgegrid.Config{
		Host: "akamai.test", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret, AccessToken: c.AccessToken,
	})
}

// bubble is a client of the stand-in for synctest.
func bubble(t *testing.T, a *akamai.Server) *purger.Client {
	t.Helper()
	c, err := purger.New(purger.Config{
		Credentials: credentialsOf(a),
		BaseURL:     "http://akamai.test",
		HTTP:        &http.Client{Transport: inProcess{a}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// served is a client of the stand-in over a real connection.
func served(t testing.TB, a http.Handler, c purger.Credentials) *purger.Client {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	client, err := purger.New(purger.Config{Credentials: c, BaseURL: server.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

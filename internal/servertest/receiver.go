package servertest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/ledger"
)

// Notified is a notification, as far as tests look at it.
type Notified struct {
	Text, ID, Event, Repository, Environment, URL string
	Attempt, Missed                               int
	Purge                                         struct {
		ID              string
		Purged, Refused int
	}
	Pause struct {
		ID              int64
		By, Reason      string
		Purges, Objects int
	}
	Webhooks struct {
		Account string
		Failed  int
	}
	Raw []byte
}

// Receiver receives notifications over HTTP. It checks every body against its signature
// and against docs/notify.schema.json.
type Receiver struct {
	URL, Secret string
	// Answer gives the status; nil means 200. It is called before anything is recorded,
	// and its context ends with the request.
	Answer func(context.Context, Notified) int

	mu  sync.Mutex
	got []Notified
}

// NewReceiver serves a receiver until the test ends. schema is the path of the schema.
func NewReceiver(t *testing.T, schema string) *Receiver {
	t.Helper()
	r := &Receiver{Secret: "a-receivers-secret-0123456789"}
	valid := Schema(t, schema)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		if err != nil {
			return // it was cut off
		}
		n := Notified{Raw: raw}
		if err := valid(raw); err != nil || json.Unmarshal(raw, &n) != nil { //nolint:musttag // what it nests has its names
			t.Errorf("%s\nis not as the schema says: %v", raw, err)
		}
		mac := hmac.New(sha256.New, []byte(r.Secret))
		mac.Write(raw)
		h := req.Header
		if h.Get("X-Purgebot-Signature-256") != "sha256="+hex.EncodeToString(mac.Sum(nil)) || h.Get("X-Purgebot-Delivery") != n.ID ||
			h.Get("X-Purgebot-Event") != n.Event || h.Get("X-Purgebot-Attempt") != strconv.Itoa(n.Attempt) ||
			req.Method != http.MethodPost || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v\n%s", req.Method, h, raw)
		}
		status := http.StatusOK
		if r.Answer != nil {
			status = r.Answer(req.Context(), n)
		}
		if status == http.StatusOK {
			r.mu.Lock()
			r.got = append(r.got, n)
			r.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL + "/secret-path"
	return r
}

// Config is the receiver's entry in the configuration, for all events and repositories.
func (r *Receiver) Config() config.Receiver {
	return config.Receiver{URL: config.NewSecret(r.URL), Secret: config.NewSecret(r.Secret), Events: ledger.EventKinds()}
}

// Heard is what the receiver accepted, in that order.
func (r *Receiver) Heard() []Notified {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Notified(nil), r.got...)
}

// Once is what the receiver accepted, each event once. An event that was repeated without
// being marked as repeated is an error.
func (r *Receiver) Once(t *testing.T) (once []Notified) {
	t.Helper()
	seen := map[string]bool{}
	for _, n := range r.Heard() {
		switch {
		case !seen[n.ID]:
			once = append(once, n)
		case n.Attempt < 2:
			t.Errorf("%s came again and does not say so: %s", n.ID, n.Raw)
		}
		seen[n.ID] = true
	}
	return once
}

// Schema returns a function that checks a document against a JSON schema.
func Schema(t testing.TB, path string) func([]byte) error {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // a test names it
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(raw []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
}

package servertest

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/stage"
)

// Log keeps what a server logs. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// String is the whole log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// WithLog makes a stage's server write to a log.
func WithLog(l *Log) func(*stage.Config) {
	return func(c *stage.Config) { c.Log = slog.New(slog.NewTextHandler(l, nil)) }
}

// URLs are the purges of pages on every host of a network, as Sent gives them.
func URLs(network string, pages ...string) (all []string) {
	hosts := []string{"www.acme.com", "m.acme.com"}
	if network == "staging" {
		hosts = []string{"staging.acme.com"}
	}
	for _, page := range pages {
		for _, host := range hosts {
			all = append(all, fmt.Sprintf("%s invalidate url https://%s%s", network, host, page))
		}
	}
	return all
}

// Seed gives a test's random source, and logs how to repeat it.
func Seed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PURGEBOT_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("replay with PURGEBOT_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // chance, no secret
}

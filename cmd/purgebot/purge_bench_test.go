package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// BenchmarkPurgeProcessor runs `purgebot purge url` as a process of its own on lists of
// URLs of 80 bytes. For comparison it runs the least that a client in Python does for
// them; real clients do more:
//
//	go test ./cmd/purgebot -run '^$' -bench PurgeProcessor -benchtime 5x
//
// cpu-ms is the processor time of user and system, the start included. x-python is that
// as a share of the Python process's. It needs /usr/bin/python3 with requests (Debian's
// python3-requests).
func BenchmarkPurgeProcessor(b *testing.B) {
	if err := exec.CommandContext(b.Context(), "/usr/bin/python3", "-c", "import requests").Run(); err != nil {
		b.Skip("needs /usr/bin/python3 with requests: apt-get install python3-requests")
	}
	name := program(b)
	for _, n := range []int{12_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var list strings.Builder
			for i := range n {
				fmt.Fprintf(&list, "https://www.example.com/section-%02d/a-page-whose-url-has-eighty-bytes-%08d/\n", i%50, i)
			}
			var ours, theirs time.Duration
			for b.Loop() {
				ours += processor(b, list.String(), n, name, "purge", "url")
				theirs += processor(b, list.String(), n, "/usr/bin/python3", "testdata/bench/post.py")
			}
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "cpu-ms")
			b.ReportMetric(float64(ours)/float64(theirs), "x-python")
		})
	}
}

// processor returns the processor time of a client that sends a list to a stand-in. The
// stand-in is 20 ms away and has no limits.
func processor(b *testing.B, list string, n int, argv ...string) time.Duration {
	b.Helper()
	service := akamai.New(akamai.Config{Latency: 20 * time.Millisecond, Limits: akamai.Limits{Unlimited: true}, Keep: -1})
	server := httptest.NewServer(service)
	defer server.Close()
	c := service.Credentials()
	cmd := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+b.TempDir(), "PURGEBOT_AKAMAI_BASE_URL="+server.URL, "AKAMAI_HOST=akamai.test",
		"AKAMAI_CLIENT_TOKEN="+c.ClientToken, "AKAMAI_CLIENT_SECRET="+c.ClientSecret, "AKAMAI_ACCESS_TOKEN="+c.AccessToken)
	cmd.Stdin = strings.NewReader(list)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if sent := service.Counts().Objects; sent != n {
		b.Fatalf("%d objects of %d were accepted", sent, n)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

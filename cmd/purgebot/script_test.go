package main

import (
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// TestMain makes the scripts in testdata/script run this code as purgebot.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"purgebot": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values[edgeKey{}] = new(atomic.Pointer[edgeWorld])
			env.Values[akamaiKey{}] = new(atomic.Pointer[akamai.Server])
			env.Vars = append(env.Vars,
				"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
				"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@acme.com", "GIT_AUTHOR_DATE=2026-11-22T10:00:00Z",
				"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@acme.com", "GIT_COMMITTER_DATE=2026-11-22T10:00:00Z",
			)
			return nil
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "edge": edgeCommand, "akamai": akamaiCommand},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

type akamaiKey struct{}

// akamaiCommand is a script command. "akamai start" serves a stand-in and sets the
// variables that lead to it. "akamai took" writes what it accepted to the file took.
func akamaiCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: akamai start|took")
	}
	held := ts.Value(akamaiKey{}).(*atomic.Pointer[akamai.Server])
	switch args[0] {
	case "start":
		a := akamai.New(akamai.Config{Hosts: []string{"www.acme.com"}, BasicUser: "ann", BasicPassword: "right"})
		held.Store(a)
		server := httptest.NewServer(a)
		ts.Defer(server.Close)
		c := a.Credentials()
		ts.Setenv("AKAMAI_HOST", "akamai.test")
		ts.Setenv("AKAMAI_CLIENT_TOKEN", c.ClientToken)
		ts.Setenv("AKAMAI_CLIENT_SECRET", c.ClientSecret)
		ts.Setenv("AKAMAI_ACCESS_TOKEN", c.AccessToken)
		ts.Setenv("PURGEBOT_AKAMAI_BASE_URL", server.URL)
	case "took":
		lines := strings.Join(takenBy(held.Load()), "\n") + "\n"
		ts.Check(os.WriteFile(ts.MkAbs("took"), []byte(lines), 0o600))
	default:
		ts.Fatalf("akamai %s: unknown", args[0])
	}
}

// exits is a script command, "exits CODE program args…": it runs a program that must exit
// with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, not %s", got, args[0])
	}
}

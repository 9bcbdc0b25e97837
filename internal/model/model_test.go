package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/store/storetest"
)

// TestModel holds the whole program against a tiny model of it. A seed makes up lives of
// a site: webhooks are lost, late, doubled and out of order, GitHub and Akamai fail, and
// the server is restarted in the middle. When all trouble is over, these must hold: no
// cache may have anything older than what is deployed; nothing was purged that did not
// change; live in the ledger is what GitHub recorded last; every status has ended.
//
// PURGEBOT_TEST_SEED replays one life, as far as the race between the events and the
// server can be replayed. PURGEBOT_TEST_LIVES says how many lives there are.
// PURGEBOT_TEST_SHRINK shortens a life that fails. A shortened life that is worth keeping
// goes to testdata/script.
func TestModel(t *testing.T) {
	tryLives(t, 4, func(testing.TB) string { return "" }, false)
}

// The same on PostgreSQL. A crash there is only a server that reaches nobody any more and
// stops; TestReplicaTakesOver has a real crash.
func TestModelOnPostgres(t *testing.T) {
	tryLives(t, 2, storetest.Postgres, false)
}

// Two replicas have clocks that are a minute apart, as far as they may be, and now and
// then an hour wrong until they are set. That loses nothing and purges nothing too much.
// What a wrong clock put off is due once the clock is right.
func TestModelOfReplicas(t *testing.T) {
	tryLives(t, 2, storetest.Postgres, true)
}

// modelSeeds are the seeds to try: n random ones, unless the environment says otherwise.
func modelSeeds(t *testing.T, n int) (seeds []uint64) {
	t.Helper()
	number := func(variable string) (uint64, bool) {
		s := os.Getenv(variable)
		n, err := strconv.ParseUint(s, 10, 64)
		if s != "" && err != nil {
			t.Fatal(err)
		}
		return n, s != ""
	}
	if seed, ok := number("PURGEBOT_TEST_SEED"); ok {
		return []uint64{seed}
	}
	if lives, ok := number("PURGEBOT_TEST_LIVES"); ok {
		n = int(lives)
	}
	for range n {
		seeds = append(seeds, rand.Uint64())
	}
	return seeds
}

// tryLives plays n lives side by side, each on a database of its own.
func tryLives(t *testing.T, n int, database func(testing.TB) string, replicas bool) {
	t.Helper()
	t.Parallel()
	for _, seed := range modelSeeds(t, n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			t.Logf("replay with PURGEBOT_TEST_SEED=%d", seed)
			tryScript(t, writeScript(rand.New(rand.NewPCG(seed, 1)), 35, replicas), database(t))
		})
	}
}

// Lives that once showed a fault, and those that a user would name.
func TestModelScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var script []string
			for line := range strings.Lines(string(text)) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					script = append(script, line)
				}
			}
			tryScript(t, script, "")
		})
	}
}

// tryScript plays a script and fails the test with what is wrong, and with the script
// that shows it. database is an address; "": a SQLite file of its own.
func tryScript(t *testing.T, script []string, database string) {
	t.Helper()
	problems, said, err := runModel(t.Context(), t.TempDir(), database, script)
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) == 0 {
		return
	}
	if os.Getenv("PURGEBOT_TEST_SHRINK") != "" {
		script, problems = shrink(t, script, problems)
	}
	t.Errorf("%s\n\nin this life:\n\n%s", strings.Join(problems, "\n"), strings.Join(script, "\n"))
	if os.Getenv("PURGEBOT_TEST_LOG") != "" {
		t.Log(said)
	}
}

// shrink removes lines from a failing script as long as it still fails: first large
// parts, then smaller ones.
func shrink(t *testing.T, script, problems []string) (shorter, why []string) {
	for size := len(script) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(script); {
			without := slices.Concat(script[:at], script[at+size:])
			if still := fails(t, without); len(still) > 0 {
				script, problems = without, still
			} else {
				at += size
			}
		}
	}
	return script, problems
}

// fails plays a script a few times, since a race is not lost every time.
func fails(t *testing.T, script []string) []string {
	t.Helper()
	const times = 3
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	found := make(chan []string, times)
	for range times {
		dir := t.TempDir()
		go func() {
			problems, _, err := runModel(ctx, dir, "", script)
			if err != nil {
				problems = nil
			}
			found <- problems
		}()
	}
	var problems []string
	for range times {
		if p := <-found; len(p) > 0 && problems == nil {
			problems = p
		}
	}
	return problems
}

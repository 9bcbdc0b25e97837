package server_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/purger"
)

// twoAccounts is a world with two repositories. acme/emea is sent with an account of its
// own, to a stand-in of its own.
type twoAccounts struct {
	*world
	theirs *akamai.Server
	policy policy.Policy
	load   func(account string) (purger.Config, error)
	silent atomic.Bool
	hangs  atomic.Int64 // requests of acme/emea's account that get no answer
}

func newTwoAccounts(t *testing.T, database string) (*twoAccounts, string) {
	t.Helper()
	x := &twoAccounts{theirs: akamai.New(akamai.Config{Estimate: time.Second})}
	entry := policy.NewEntry()
	entry.Repositories, entry.Account = []string{"acme/emea"}, "emea"
	x.policy = append(servertest.Policy(), entry)
	var first string
	x.world, first = newWorld(t, func(c *stage.Config) {
		c.Database, c.Policy = database, x.policy
		c.Repositories = append(c.Repositories, github.Repository{ID: 2, Owner: "acme", Name: "emea", Dir: c.Repositories[0].Dir})
	})
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	url, err := x.Serve(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x.silent.Load() {
			x.hangs.Add(1)
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		}
		x.theirs.ServeHTTP(w, r)
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := x.theirs.Credentials()
	ours := x.ServerConfig().Akamai
	x.load = func(account string) (purger.Config, error) {
		if account != "emea" {
			return ours(account)
		}
		return purger.Config{BaseURL: url, Credentials: purger.NewCredentials(edgegrid.Config{
			Host: "akab-emea.luna.akamaiapis.net", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret,
			AccessToken: c.AccessToken, MaxBody: edgegrid.MaxBodySize,
		})}, nil
	}
	return x, first
}

func (x *twoAccounts) begin() {
	x.T.Helper()
	x.Begin(func(cfg *server.Config) { cfg.Accounts, cfg.Akamai = []string{"emea"}, x.load })
}

// deploy deploys a commit in acme/emea.
func (x *twoAccounts) deploy(sha string) {
	x.T.Helper()
	x.DeployTo("acme/emea", "production", sha, "success")
}

// says waits until the status of a commit of acme/emea begins with the words.
func (x *twoAccounts) says(sha, words string) {
	x.T.Helper()
	x.Says("acme/emea", sha, words)
}

// accountEngines runs a test with a database of each kind.
func accountEngines(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "") })
	t.Run("postgres", func(t *testing.T) { test(t, storetest.Postgres(t)) })
}

// An account that is revoked, limited or silent delays its own purges, and their statuses
// say so. The other account's purges are sent in the meantime. Once the trouble is fixed,
// each object goes out once.
func TestAnAccountInTrouble(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trouble, mend func(*twoAccounts)
		words         string
	}{
		"revoked": {
			func(x *twoAccounts) { x.theirs.SetGranted(false) },
			func(x *twoAccounts) { x.theirs.SetGranted(true) },
			"0 of 2 purged, waiting: purgebot's Akamai API client may not purge",
		},
		"unauthorized": {
			func(x *twoAccounts) {
				x.theirs.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: http.StatusUnauthorized} })
			},
			func(x *twoAccounts) { x.theirs.Fault(nil) },
			"0 of 2 purged, waiting: Akamai does not accept purgebot's credentials",
		},
		"limited": {
			func(x *twoAccounts) {
				x.theirs.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: http.StatusTooManyRequests} })
			},
			func(x *twoAccounts) { x.theirs.Fault(nil) },
			"0 of 2 purged",
		},
		"silent": {
			func(x *twoAccounts) { x.silent.Store(true) },
			func(x *twoAccounts) { x.silent.Store(false) },
			"0 of 2 purged",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accountEngines(t, func(t *testing.T, database string) {
				x, first := newTwoAccounts(t, database)
				x.Deploy("production", first, "success")
				x.deploy(first)
				x.begin()
				test.trouble(x)
				second := x.Commit("second", map[string]string{"content/index/home.md": "2"})
				x.deploy(second)
				x.says(second, test.words)
				x.Deploy("production", second, "success")
				x.Await(second, "production", "success", "2 URLs purged")
				if len(x.theirs.Accepted()) != 0 {
					t.Error("their purge went out too")
				}
				if name == "revoked" && (!x.metric(`purgebot_akamai_paused{account="emea"} 1`) || !x.metric(`purgebot_akamai_paused{account="default"} 0`)) {
					t.Error("the metrics do not tell the accounts apart")
				}
				test.mend(x)
				x.says(second, "2 URLs purged")
				x.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
				if sent := x.theirs.Accepted(); len(sent) != 1 || len(sent[0].Objects) != 2 {
					t.Errorf("theirs: %+v", sent)
				}
			})
		})
	}
}

// A policy moves a repository to another account. What waits is then sent with that
// account, after a reload and after a start. A reload with an account that can't be read
// changes nothing.
func TestRepositoryMovesToAnotherAccount(t *testing.T) {
	accountEngines(t, func(t *testing.T, database string) {
		x, first := newTwoAccounts(t, database)
		x.deploy(first)
		x.begin()
		x.theirs.SetGranted(false)
		second := x.Commit("second", map[string]string{"content/index/home.md": "2"})
		x.deploy(second)
		x.says(second, "0 of 2 purged, waiting: purgebot's Akamai API client may not purge")
		settings := server.Settings{Policy: servertest.Policy(), Secrets: []string{x.Secret}, Accounts: []string{"apac"}}
		settings.Akamai = func(account string) (purger.Config, error) {
			if account == "apac" {
				return purger.Config{}, context.DeadlineExceeded
			}
			return x.load(account)
		}
		load := func() (server.Settings, error) { return settings, nil }
		if err := x.Server.Reload(t.Context(), load); err == nil || !strings.Contains(err.Error(), "akamai account apac: ") {
			t.Errorf("with an account that can't be read: %v", err)
		}
		if got := x.Server.Store().Accounts(); len(got) != 2 || got[1] != "emea" {
			t.Errorf("then the accounts are %v", got)
		}
		settings.Accounts = nil
		if err := x.Server.Reload(t.Context(), load); err != nil {
			t.Fatal(err)
		}
		x.says(second, "2 URLs purged")
		x.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
		if n := len(x.theirs.Accepted()); n != 0 {
			t.Errorf("%d of them went with the account before", n)
		}
	})
}

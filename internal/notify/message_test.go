package notify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/notify"
	"github.com/purgebot/purgebot/internal/servertest"
)

const schemaPage = "../../docs/notify.schema.json"

func noon() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }

// messages are one message of each kind, with texts that strangers may have written.
func messages() map[string]notify.Message {
	purge := func(change func(*ledger.Purge)) *ledger.Purge {
		p := &ledger.Purge{
			ID: "01KB0000000000000000000001", Key: "k", Environment: "production", Cause: ledger.CauseDeploy, By: "github-actions[bot]",
			To: ledger.Point{SHA: "0123456789abcdef0123456789abcdef01234567"}, State: ledger.Done, OpenedAt: noon(), DoneAt: noon().Add(6 * time.Second),
			Counts: ledger.Counts{URLs: 14, Accepted: 14},
		}
		change(p)
		return p
	}
	pause := &ledger.Pause{ID: 3, By: "ann", Reason: "the origin is away", Since: noon()}
	until := *pause
	until.Scope, until.All, until.Until = ledger.Scope{Repositories: "acme/*", Environment: "production"}, true, noon().Add(2*time.Hour)
	proof := ledger.Proof{State: ledger.ProofDone, Checked: 5, Fresh: 3, Stale: 2, Words: "www.acme.com/a/ is 3 h old.", DoneAt: noon()}
	fresh := ledger.Proof{State: ledger.ProofDone, Checked: 5, Fresh: 5, DoneAt: noon()}
	waiting := &ledger.PauseWaiting{Purges: 2, Objects: 14}
	site := []string{"acme/site"}
	events := map[string]ledger.Event{
		"failed in part": {Kind: ledger.EventFailed, Repositories: site, Purge: purge(func(p *ledger.Purge) {
			p.Counts.Accepted, p.Counts.Failed, p.Reason = 13, 1, "unauthorized arl: https://m.acme.com/a?b=1&c=2"
		})},
		"failed wholly": {Kind: ledger.EventFailed, Repositories: site, Purge: purge(func(p *ledger.Purge) {
			p.Cause, p.By, p.Counts = ledger.CauseComment, "walt", ledger.Counts{Tags: 3, Failed: 3, Untried: 1}
			p.Reason = "policy doesn't allow tag x for acme/site"
		})},
		"held": {Kind: ledger.EventHeld, Repositories: site, Purge: purge(func(p *ledger.Purge) {
			p.State, p.Note, p.Counts, p.DoneAt = ledger.Held, "limit 8", ledger.Counts{URLs: 14}, time.Time{}
		})},
		"paused":            {Kind: ledger.EventPaused, Pause: pause, Waiting: waiting},
		"paused for a time": {Kind: ledger.EventPaused, Pause: &until, Waiting: waiting},
		"resumed":           {Kind: ledger.EventResumed, Pause: &until, Waiting: waiting, By: "bob"},
		"over":              {Kind: ledger.EventResumed, Pause: &until, Waiting: &ledger.PauseWaiting{Purges: 1, Objects: 1}},
		"stale":             {Kind: ledger.EventStale, Repositories: site, Purge: purge(func(p *ledger.Purge) { p.Proof = proof })},
		"mended by a retry": {Kind: ledger.EventMended, Repositories: site, Purge: purge(func(*ledger.Purge) {})},
		"mended, fresh":     {Kind: ledger.EventMended, Repositories: site, Purge: purge(func(p *ledger.Purge) { p.Proof = fresh })},
		"unheard":           {Kind: ledger.EventUnheard, Repositories: site, Silence: &ledger.Silence{Installation: 5, Account: "acme", Last: noon(), Habit: 62 * time.Hour}},
		"unheard, failures": {Kind: ledger.EventUnheard, Silence: &ledger.Silence{Installation: 5, Failed: 12}},
		"heard again":       {Kind: ledger.EventMended, Silence: &ledger.Silence{Installation: 5, Account: "acme"}},
		"hostile": {Kind: ledger.EventFailed, Repositories: site, Purge: purge(func(p *ledger.Purge) {
			p.Environment, p.Cause, p.By = "<!channel> @here [click](https://evil.example)", ledger.CauseComment, "a\u202eb\nnext & last"
			p.Counts.Accepted, p.Counts.Failed, p.Reason = 13, 1, "<https://evil.example|safe> <!everyone>"
		})},
	}
	all := map[string]notify.Message{}
	for name, e := range events {
		e.ID, e.At = "01KB000000000000000000000Z", noon()
		all[name] = notify.Message{Event: e, Attempt: 1, PublicURL: "https://purgebot.acme.com"}
	}
	late := all["held"]
	late.Attempt, late.Missed = 7, 1203
	all["after a long absence"] = late
	return all
}

// One file has the words of every kind. Every body is valid by the schema.
func TestMessages(t *testing.T) {
	valid := servertest.Schema(t, schemaPage)
	for name, m := range messages() {
		t.Run(name, func(t *testing.T) {
			raw, err := m.JSON()
			if err == nil {
				err = valid(raw)
			}
			var b struct {
				Text        string
				Attachments []struct {
					Content struct{ Body []struct{ Text string } }
				}
			}
			if err != nil || json.Unmarshal(raw, &b) != nil {
				t.Fatalf("%v\n%s", err, raw)
			}
			got := "chat: " + b.Text + "\ncard: " + b.Attachments[0].Content.Body[0].Text + "\n"
			file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v; UPDATE=1 writes it anew\ngot:  %swant: %s", err, got, want)
			}
			for _, alive := range []string{"<!", "@here", "](", "\u202e", "\n", "<http"} {
				if strings.Contains(b.Text, alive) {
					t.Errorf("%q is alive in %s", alive, b.Text)
				}
			}
		})
	}
	for _, bad := range []string{`{}`, `{"text":"x"}`} {
		if valid([]byte(bad)) == nil {
			t.Errorf("the schema takes %s", bad)
		}
	}
}

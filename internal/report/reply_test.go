package report_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files anew")
	flag.Parse()
	os.Exit(m.Run())
}

// golden compares a text with testdata/NAME.md.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".md")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func asked(state ledger.State, c ledger.Counts) ledger.Purge {
	return ledger.Purge{
		ID: "01J", RepoID: 1, Environment: "production", Cause: ledger.CauseComment, By: "alice",
		To: ledger.Point{SHA: "0123456789abcdef0123456789abcdef01234567"}, Network: mapping.Production,
		State: state, Counts: c, OpenedAt: noon().Add(-6 * time.Second), DoneAt: noon(),
	}
}

func target(kind mapping.Kind, object, reason string) ledger.Target {
	fate := ledger.Accepted
	if reason != "" {
		fate = ledger.Failed
	}
	return ledger.Target{Target: mapping.Target{Kind: kind, Object: object, Action: mapping.Invalidate, Reason: reason}, Fate: fate}
}

func many(n int) (all []ledger.Target) {
	for i := range n {
		all = append(all, target(mapping.URL, fmt.Sprintf("https://www.acme.com/%03d/", i), ""))
	}
	return all
}

func TestReply(t *testing.T) {
	const link = "https://purgebot.acme.com/purges/abc"
	page, tag := target(mapping.URL, "https://www.acme.com/a/", ""), target(mapping.Tag, "acme-shell", "")
	bad := target(mapping.URL, "https://evil.example/@acme/](http://x)", "policy doesn't allow host evil.example for acme/site")
	for _, test := range []struct {
		name   string
		reply  report.Reply
		change func(*ledger.Purge)
	}{
		{"reply-done", report.Reply{
			Purge:  asked(ledger.Done, ledger.Counts{URLs: 1, Tags: 1, Accepted: 2}),
			Others: []ledger.Target{page, tag}, Akamai: []string{"e535-1", "e535-2"}, Link: link,
			Before: report.Notes(report.Unmatched([]string{"README.md", "a\n@b"}), report.Lacking{NoFile: []string{"x/**"}, NoRule: []string{"b.md"}, Nearest: "/purge y/**"}.Headline("main", "0123456789", false)),
		}, nil},
		{"reply-refused", report.Reply{
			Purge:  asked(ledger.Done, ledger.Counts{URLs: 2, Accepted: 1, Failed: 1}),
			Failed: []ledger.Target{bad}, Others: []ledger.Target{page}, Akamai: []string{"e535-1"}, Link: link,
		}, nil},
		{"reply-under-way", report.Reply{
			Purge: asked(ledger.Open, ledger.Counts{URLs: 120, Accepted: 60}), Others: many(60), Link: link,
		}, nil},
		{"reply-held", report.Reply{
			Purge: asked(ledger.Held, ledger.Counts{URLs: 3000}), Others: many(1),
		}, func(p *ledger.Purge) { p.Note = "limit 2000" }},
		{"reply-cancelled", report.Reply{
			Purge: asked(ledger.Cancelled, ledger.Counts{URLs: 2}), Others: many(2), Link: link, Before: report.Acted("cancel", "bob", 0),
		}, func(p *ledger.Purge) { p.EndedBy = "bob" }},
		{
			"reply-paused",
			report.Reply{Purge: asked(ledger.Open, ledger.Counts{URLs: 2}), Others: many(2), Link: link},
			func(p *ledger.Purge) { p.PausedBy = "ann: the [origin](http://x) is away" },
		},
		{"reply-rest-paused", report.Reply{
			Purge: asked(ledger.Done, ledger.Counts{URLs: 1, Accepted: 1}), Others: many(1), Link: link,
			Pauses: []ledger.Pause{{By: "ann", Reason: "the origin is away"}, {By: "bob", Reason: "@all", Scope: ledger.Scope{Environment: "staging"}}},
		}, nil},
		{"reply-nothing", report.Reply{Purge: asked(ledger.Done, ledger.Counts{})}, nil},
		{"reply-deploy-retried", report.Reply{
			Purge:  asked(ledger.Done, ledger.Counts{URLs: 1, Accepted: 1}),
			Others: []ledger.Target{page}, Before: report.Acted("retry", "bob", 1), Akamai: []string{"1", "2", "3", "4", "5", "6"},
		}, func(p *ledger.Purge) { p.Cause, p.By = ledger.CauseDeploy, "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change != nil {
				test.change(&test.reply.Purge)
			}
			golden(t, test.name, test.reply.Markdown(noon()))
		})
	}
}

func TestReplyFitsGitHub(t *testing.T) {
	long := strings.Repeat("x", 5000)
	r := report.Reply{Purge: asked(ledger.Done, ledger.Counts{URLs: 100_000, Accepted: 50_000, Failed: 50_000})}
	for range 1000 {
		r.Failed = append(r.Failed, target(mapping.URL, long, long))
		r.Others = append(r.Others, target(mapping.URL, long, ""))
	}
	if n := utf8.RuneCountInString(r.Markdown(noon())); n > 60_000 {
		t.Errorf("%d characters; GitHub takes 65,536", n)
	}
}

func TestAnswers(t *testing.T) {
	sha := "0123456789abcdef0123456789abcdef01234567"
	live := ledger.Point{SHA: sha, At: noon()}
	held := asked(ledger.Held, ledger.Counts{URLs: 3})
	held.Note = "3 deletes, limit 2"
	dry := report.DryRun{
		Environment: "production", Network: "production", Action: "delete", SHA: sha, Held: "2 deletes, limit 1",
		Counts: ledger.Counts{URLs: 1, CPCodes: 1}, Refused: 1,
	}
	for _, t := range []ledger.Target{
		target(mapping.URL, "https://www.acme.com/a/", ""), target(mapping.CPCode, "12345", ""),
		target(mapping.Tag, "other", "policy doesn't allow tag other for acme/site"),
	} {
		dry.Add(t.Target)
	}
	for name, got := range map[string]string{
		"denied":             report.Denied("rita", "read", "write", "purging"),
		"unlisted":           report.Unlisted("acme/site"),
		"mistaken":           report.Mistaken("Unknown command @acme/team", "/purge retry"),
		"mistaken-unguessed": report.Mistaken("a quote is not closed", ""),
		"unread":             report.Unread([]string{"https://www.acme.com/@b/", "--delete"}),
		"not-found":          report.Lacking{NoFile: []string{"x.md"}}.Headline("main", "0123456789", true),
		"nothing":            report.Nothing(report.Unmatched([]string{"a", "b", "c", "d", "e", "f"})),
		"dry-run":            dry.Markdown(""),
		"status": report.StatusReply([]report.EnvironmentStatus{
			{Name: "production", Known: ledger.Environment{Live: live, Desired: ledger.Point{SHA: "fedcba9876", At: noon()}, Fault: "purge-rules.yaml:12:9: bad"}},
			{Name: "staging"},
			{Name: "preview", Known: ledger.Environment{Desired: live}},
		}, []ledger.Purge{held, asked(ledger.Open, ledger.Counts{URLs: 3, Accepted: 1})}, "Akamai rejects the credentials", []ledger.Pause{{By: "ann", Reason: "the origin is away"}}, noon()),
		"help": report.Help(report.Rights{
			Login: "walt", Role: "write", ForDelete: "maintain", ForCode: "admin", Environments: []string{"production", "staging"},
		}),
		"help-admin": report.Help(report.Rights{Login: "adam", Role: "admin", Delete: true, CPCode: true}),
	} {
		t.Run(name, func(t *testing.T) { golden(t, "answer-"+name, got) })
	}
}

func TestReaction(t *testing.T) {
	for _, test := range []struct {
		name string
		p    ledger.Purge
		at   time.Time
		want string
	}{
		{"under way", asked(ledger.Open, ledger.Counts{URLs: 2, Accepted: 1}), noon(), ""},
		{"held", asked(ledger.Held, ledger.Counts{URLs: 2}), noon(), ""},
		{"accepted, and Akamai's estimate runs", asked(ledger.Done, ledger.Counts{URLs: 1, Accepted: 1}), noon().Add(-time.Second), ""},
		{"done", asked(ledger.Done, ledger.Counts{URLs: 1, Accepted: 1}), noon(), "rocket"},
		{"Nothing to purge", asked(ledger.Done, ledger.Counts{}), noon(), "rocket"},
		{"refused in part", asked(ledger.Done, ledger.Counts{URLs: 2, Accepted: 1, Failed: 1}), noon(), "confused"},
		{"cancelled", asked(ledger.Cancelled, ledger.Counts{URLs: 1}), noon(), "confused"},
	} {
		got, until := report.Reaction(test.p, test.at)
		if got != test.want || until.IsZero() == test.at.Before(test.p.DoneAt) {
			t.Errorf("%s: %q until %v, want %q", test.name, got, until, test.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "(nothing)",
		" \n\t":                   "(nothing)",
		"a":                       "`a`",
		"two\nlines":              "`two lines`",
		"`":                       "`` ` ``",
		"a`b``c":                  "```a`b``c```",
		"@acme/team":              "`@\u200bacme/team`",
		"[x](http://y)":           "`[x]\u200b(http://y)`",
		"<img src=x>":             "`<\u200bimg src=x>`",
		"<!-- x -->":              "`<\u200b!-- x -->`",
		"fixes #12":               "`fixes #\u200b12`",
		"a|b":                     "`a¦b`",
		"x\u202eevil\u200b\x00":   "`x\\u202eevil\\u200b\\u0000`",
		"\xff":                    "`\uFFFD`",
		"https://www.acme.com/a/": "`https://www.acme.com/a/`",
	} {
		if got := report.Quote(in); got != want {
			t.Errorf("Quote(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzQuote checks that a quote is one code span of one line, and that nothing
// in it would be alive outside one.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "`", "``` `", "@a #1 <b> ![x](y) [a][b]", "\u202e\x00\xff", strings.Repeat("`a", 500), "` ", " `", "|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := report.Quote(s)
		if q == "(nothing)" {
			return
		}
		if !utf8.ValidString(q) || utf8.RuneCountInString(q) > 4*report.MaxQuote {
			t.Fatalf("%q: invalid or long", q)
		}
		fence := len(q) - len(strings.TrimLeft(q, "`"))
		if fence == 0 || len(q) < 2*fence+1 || !strings.HasSuffix(q, strings.Repeat("`", fence)) {
			t.Fatalf("%q: no code span", q)
		}
		inner := q[fence : len(q)-fence]
		run := 0
		for i, r := range inner + " " {
			if r == '`' {
				run++
				continue
			}
			if run == fence || run > 0 && i-run == 0 || run > 0 && i == len(inner) {
				t.Fatalf("%q: a backtick ends it early", q)
			}
			run = 0
			if r == '\n' || r == '|' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200b' {
				t.Fatalf("%q: holds %q", q, r)
			}
		}
		runes := []rune(inner)
		for i := range len(runes) - 1 {
			r, next := runes[i], runes[i+1]
			if r == '@' && unicode.IsLetter(next) || r == '#' && unicode.IsDigit(next) || r == '<' && unicode.IsLetter(next) || r == ']' && next == '(' {
				t.Fatalf("%q: %q is alive", q, string(runes[i:i+2]))
			}
		}
	})
}

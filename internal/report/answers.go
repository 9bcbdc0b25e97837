package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// Denied is the reply to a person whose role is not enough. what is what they asked for,
// as "purging" or "deleting a CP code".
func Denied(login, role, need, what string) string {
	return fmt.Sprintf("Sorry, %s: %s here needs the **%s** role and you have **%s**. Nothing was purged. "+
		"Someone with that role can post the same command.", Quote(login), what, need, role)
}

// Unlisted is the reply in a repository that the operator's policy does not
// name.
func Unlisted(repository string) string {
	return fmt.Sprintf("purgebot's policy doesn't list %s, so nobody can purge from here. "+
		"Your purgebot operator can add it under `policy:`.", Quote(repository))
}

// Mistaken is the reply to a command that can't be understood. nearest is a command that
// works and may have been meant; "": none is known.
func Mistaken(what, nearest string) string {
	words := "Nothing was purged: " + Quote(what) + "."
	if nearest != "" {
		words += " Did you mean " + Quote(nearest) + "?"
	}
	return words + "\n\n`/purge help` lists all commands."
}

// Refused is the reply to a command that could not be carried out. what is Markdown of
// purgebot's; it must quote what a person or a file wrote.
func Refused(what string) string { return "Nothing was done: " + what }

// TooManySteps says why a command's patterns were not compared with all files of a
// branch.
func TooManySteps(branch string) string {
	return fmt.Sprintf("comparing these patterns with every file of %s takes too long for one comment. "+
		"Use fewer of them, with fewer braces and wildcards.", Quote(branch))
}

// TooManyFiles says why nothing is purged for that many files.
func TooManyFiles(files int) string {
	return fmt.Sprintf("what the rules purge for %s is too much for one comment. "+
		"Name fewer files, or a tag or a CP code for all of them.", plural(files, "file", "files"))
}

// Notes joins remarks to paragraphs of Markdown; empty ones are left out.
func Notes(remarks ...string) string {
	var kept []string
	for _, r := range remarks {
		if r != "" {
			kept = append(kept, r)
		}
	}
	return strings.Join(kept, "\n\n")
}

// Unmatched is a remark on changed files that no rule matches; "" without any.
func Unmatched(files []string) string {
	if len(files) == 0 {
		return ""
	}
	return fmt.Sprintf("No rule matches %s: %s", Amount(len(files), "file", "files"), quoteSome(files))
}

// Lacking is what a command named although it purges nothing.
type Lacking struct {
	NoFile  []string // no file of the branch has that name, or matches
	NoRule  []string // files match, and no rule matches any of them
	Nearest string   // a command that works and may have been meant; "": none is known
}

// Any reports whether there is any.
func (l Lacking) Any() bool { return len(l.NoFile)+len(l.NoRule) > 0 }

// Headline says in one bold line what is not purged: it must be read before everything
// else. branch and sha say where the files were looked for. all says that nothing else is
// purged either.
func (l Lacking) Headline(branch, sha string, all bool) string {
	if !l.Any() {
		return ""
	}
	var parts []string
	if len(l.NoFile) > 0 {
		parts = append(parts, fmt.Sprintf("no file on %s (%s) matches %s", Quote(branch), Quote(Short(sha)), quoteSome(l.NoFile)))
	}
	if len(l.NoRule) > 0 {
		parts = append(parts, "no rule matches "+quoteSome(l.NoRule))
	}
	words := "**Not purged: "
	if all {
		words = "**Nothing was purged: "
	}
	words += strings.Join(parts, "; ") + "**"
	if l.Nearest != "" {
		words += "\n\nDid you mean " + Quote(l.Nearest) + "?"
	}
	return words
}

// Unread is a remark on text below a command that looks like a part of it and does not
// count.
func Unread(found []string) string {
	if len(found) == 0 {
		return ""
	}
	return "Not part of the command: " + quoteSome(found) +
		". Only the first line counts, and lines directly below it with nothing but URLs, tags, CP codes or files."
}

// quoteSome quotes the first few texts of a list, and says how many more there are.
func quoteSome(all []string) string {
	const some = 5
	var quoted []string
	for _, s := range all[:min(len(all), some)] {
		quoted = append(quoted, Quote(s))
	}
	if len(all) > some {
		quoted = append(quoted, "and "+Number(len(all)-some)+" more")
	}
	return strings.Join(quoted, ", ")
}

// Either lists quoted texts from which the reader has to choose one.
func Either(quoted []string) string {
	n := len(quoted)
	if n < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:n-1], ", ") + " or " + quoted[n-1]
}

// Nothing is the reply to a command that maps to no object.
func Nothing(notes string) string {
	return Notes("**"+nothing+".**", notes)
}

// DryRun is what a purge would do, and why it would need approval. Add collects its
// targets.
type DryRun struct {
	Environment string
	Network     string
	Action      string // invalidate or delete
	SHA         string // the head whose rules and files it goes by
	Counts      ledger.Counts
	Refused     int
	Held        string // why it would need approval; "": it would not

	sent, refused []ledger.Target // the first ones
}

// Add adds a target; one that would be refused has a Reason. Only the first Listed of
// each kind are kept.
func (d *DryRun) Add(t mapping.Target) {
	list := &d.sent
	if t.Reason != "" {
		list = &d.refused
	}
	if len(*list) < Listed {
		*list = append(*list, ledger.Target{Target: t})
	}
}

// Markdown is the reply; notes stand first.
func (d *DryRun) Markdown(notes string) string {
	parts := []string{
		notes, "**Would " + d.Action + " " + Objects(d.Counts) + "**",
		fmt.Sprintf("In %s, on Akamai's %s network, rules of %s. This was a dry run: nothing was purged.",
			Quote(d.Environment), d.Network, Quote(Short(d.SHA))),
	}
	if d.Held != "" {
		parts = append(parts, "It would need approval: "+Quote(d.Held))
	}
	if d.Refused > 0 {
		parts = append(parts, "Would be refused:\n\n"+targetList(d.refused, d.Refused))
	}
	if n := d.Counts.Total(); n > 0 {
		parts = append(parts, folded(Amount(n, "item", "items"), targetList(d.sent, n)))
	}
	return Notes(parts...)
}

// EnvironmentStatus is what is live in an environment and what waits.
type EnvironmentStatus struct {
	Name  string
	Known ledger.Environment // zero: nothing was ever heard of it
}

// StatusReply is the reply to /purge status. paused says why nothing is sent to Akamai;
// pauses are what operators hold back of the repository.
func StatusReply(envs []EnvironmentStatus, unfinished []ledger.Purge, paused string, pauses []ledger.Pause, now time.Time) string {
	var b strings.Builder
	for _, e := range envs {
		live, desired := e.Known.Live, e.Known.Desired
		b.WriteString("- " + Quote(e.Name) + ": ")
		switch {
		case live.IsZero() && desired.IsZero():
			b.WriteString("no deployment yet")
		case live.IsZero():
			b.WriteString("nothing purged yet")
		default:
			fmt.Fprintf(&b, "%s is live since %s", Quote(Short(live.SHA)), live.At.UTC().Format("2006-01-02 15:04 UTC"))
		}
		if desired.SHA != live.SHA && !desired.IsZero() {
			fmt.Fprintf(&b, ", %s is deployed and waiting", Quote(Short(desired.SHA)))
		}
		if e.Known.Fault != "" {
			b.WriteString(": " + Quote(e.Known.Fault))
		}
		b.WriteByte('\n')
	}
	parts := []string{strings.TrimRight(b.String(), "\n")}
	if paused != "" {
		parts = append(parts, "Nothing is being sent to Akamai: "+Quote(paused))
	}
	parts = append(parts, restPaused(pauses))
	if len(unfinished) == 0 {
		return Notes(append(parts, "No purge is waiting.")...)
	}
	b.Reset()
	b.WriteString("Waiting purges, newest first:\n\n")
	for _, p := range unfinished {
		fmt.Fprintf(&b, "- %s, %s", Quote(p.Environment), headline(p, now))
		if p.State == ledger.Held {
			b.WriteString(": " + Quote(p.Note))
		}
		b.WriteByte('\n')
	}
	return Notes(append(parts, strings.TrimRight(b.String(), "\n"))...)
}

// Rights are what a person may do here, for /purge help.
type Rights struct {
	Login, Role        string
	Delete, CPCode     bool
	ForDelete, ForCode string   // the roles that Delete and CPCode need
	Environments       []string // as the rules name them
}

// Help is the reply to /purge help.
func Help(r Rights) string {
	may := func(ok bool, need string) string {
		if ok {
			return "yes"
		}
		return "no, this needs the **" + need + "** role"
	}
	envs := "none in the rules"
	if len(r.Environments) > 0 {
		envs = quoteSome(r.Environments)
	}
	return fmt.Sprintf("Write one of these at the start of a comment on a pull request:\n\n```\n"+
		"/purge                              everything this pull request changed\n"+
		"/purge https://www.example.com/a/   these URLs\n"+
		"/purge content/docs/**              what these files map to\n"+
		"/purge tag:product-7 cpcode:12345   tags, CP codes\n"+
		"      --env NAME  --delete  --dry-run\n"+
		"/purge retry | release | cancel | status | help\n```\n\n"+
		"You are %s and have the **%s** role. You can purge URLs, files and tags: yes. `--delete`: %s. CP codes: %s. Environments: %s.",
		Quote(r.Login), r.Role, may(r.Delete, r.ForDelete), may(r.CPCode, r.ForCode), envs)
}

// Acted is what a reply says after a command or a button acted on a purge. targets is how
// many items a retry is about.
func Acted(verb, login string, targets int) string {
	switch verb {
	case "retry":
		return fmt.Sprintf("%s retried %s.", Quote(login), Amount(targets, "item", "items"))
	case "release":
		return Quote(login) + " released this purge."
	default:
		return Quote(login) + " cancelled this purge."
	}
}

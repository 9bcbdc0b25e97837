package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Denied is the reply to somebody whose role is not enough.
func Denied(login, role, need, what string) string {
	return fmt.Sprintf("Thank you, %s. To %s here takes the role **%s**, and yours is **%s**, so nothing was done. "+
		"Somebody who has that role can give the same command.", Quote(login), what, need, role)
}

// Unlisted is the reply in a repository that the operator's policy does not
// name.
func Unlisted(repository string) string {
	return fmt.Sprintf("purgebot's policy does not name %s, so nobody can purge from here. "+
		"Its operator can add it under `policy:`.", Quote(repository))
}

// Mistaken is the reply to a command that can't be understood.
func Mistaken(what, nearest string) string {
	return fmt.Sprintf("Nothing was done: %s. Did you mean %s?\n\n`/purge help` lists what there is.", Quote(what), Quote(nearest))
}

// Refusal is the reply to a command that could not be done. what is ours;
// what a person or a file wrote is quoted in it.
func Refusal(what string) string { return "Nothing was done: " + what }

// Notes are remarks on what a command touched, in Markdown; "" without any.
func Notes(remarks ...string) string {
	var kept []string
	for _, r := range remarks {
		if r != "" {
			kept = append(kept, r)
		}
	}
	return strings.Join(kept, "\n\n")
}

// Unmatched remarks on changed files that no rule matches.
func Unmatched(files []string) string {
	if len(files) == 0 {
		return ""
	}
	return fmt.Sprintf("No rule matches %s: %s", amount(len(files), "file", "files"), quoteSome(files))
}

// NoFile remarks on patterns that no file matches.
func NoFile(patterns []string, branch, sha string) string {
	if len(patterns) == 0 {
		return ""
	}
	return fmt.Sprintf("No file on %s (%s) matches %s", Quote(branch), Quote(Short(sha)), quoteSome(patterns))
}

// quoteSome quotes the first few of a list.
func quoteSome(all []string) string {
	const some = 5
	var quoted []string
	for _, s := range all[:min(len(all), some)] {
		quoted = append(quoted, Quote(s))
	}
	if len(all) > some {
		quoted = append(quoted, fmt.Sprintf("and %d more", len(all)-some))
	}
	return strings.Join(quoted, ", ")
}

// Nothing is the reply to a command that maps to no object.
func Nothing(notes string) string {
	return Notes("**Nothing to purge.**", notes)
}

// DryRun is what a purge would do: its targets, those that would be refused
// among them, and why it would wait.
type DryRun struct {
	Environment string
	Network     string
	Action      string // invalidate or delete
	SHA         string // the head whose rules and files it goes by
	Targets     []ledger.Target
	Held        string // why it would wait for a person; "": it would not
}

// Markdown is the reply.
func (d DryRun) Markdown(notes string) string {
	var c ledger.Counts
	var sent, failed []ledger.Target
	for _, t := range d.Targets {
		if t.Reason != "" {
			failed = append(failed, t)
			continue
		}
		c.Add(t.Kind)
		sent = append(sent, t)
	}
	parts := []string{
		notes, "**This would " + d.Action + " " + Objects(c) + "**",
		fmt.Sprintf("Environment %s, Akamai's %s network; rules and files of %s. Nothing was sent.",
			Quote(d.Environment), d.Network, Quote(Short(d.SHA))),
	}
	if d.Held != "" {
		parts = append(parts, "It would wait until somebody releases it: "+Quote(d.Held))
	}
	if len(failed) > 0 {
		parts = append(parts, "Refused:\n\n"+targetList(failed, len(failed)))
	}
	if len(sent) > 0 {
		parts = append(parts, folded(amount(len(sent), "object", "objects"), targetList(sent, len(sent))))
	}
	return Notes(parts...)
}

// EnvironmentStatus is what is live in an environment and what waits.
type EnvironmentStatus struct {
	Name  string
	Known ledger.Environment // zero: nothing was ever heard of it
}

// StatusReply is the reply to /purge status.
func StatusReply(envs []EnvironmentStatus, unfinished []ledger.Purge, paused string, now time.Time) string {
	var b strings.Builder
	for _, e := range envs {
		live, desired := e.Known.Live, e.Known.Desired
		b.WriteString("- " + Quote(e.Name) + ": ")
		switch {
		case live.IsZero() && desired.IsZero():
			b.WriteString("nothing is known to be live")
		case live.IsZero():
			b.WriteString("nothing purged yet")
		default:
			fmt.Fprintf(&b, "%s is live since %s", Quote(Short(live.SHA)), live.At.UTC().Format("2006-01-02 15:04 UTC"))
		}
		if desired.SHA != live.SHA && !desired.IsZero() {
			fmt.Fprintf(&b, ", %s is deployed and waits", Quote(Short(desired.SHA)))
		}
		if e.Known.Fault != "" {
			b.WriteString(": " + Quote(e.Known.Fault))
		}
		b.WriteByte('\n')
	}
	parts := []string{strings.TrimRight(b.String(), "\n")}
	if paused != "" {
		parts = append(parts, "Nothing is sent to Akamai now: "+Quote(paused))
	}
	if len(unfinished) == 0 {
		return Notes(append(parts, "No purge waits.")...)
	}
	b.Reset()
	b.WriteString("Purges that wait, the newest first:\n\n")
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
	ForDelete, ForCode string   // the roles that those take
	Environments       []string // as the rules name them
}

// Help is the reply to /purge help.
func Help(r Rights) string {
	may := func(ok bool, need string) string {
		if ok {
			return "yes"
		}
		return "no, that takes **" + need + "**"
	}
	envs := "the rules name none"
	if len(r.Environments) > 0 {
		envs = quoteSome(r.Environments)
	}
	return fmt.Sprintf("On the first line of a comment on a pull request:\n\n```\n"+
		"/purge                              everything this pull request changed\n"+
		"/purge https://www.example.com/a/   these URLs\n"+
		"/purge content/docs/**              what these files map to\n"+
		"/purge tag:product-7 cpcode:12345   tags, CP codes\n"+
		"      --env NAME  --delete  --dry-run\n"+
		"/purge retry | release | cancel | status | help\n```\n\n"+
		"You are %s, with the role **%s**. URLs, files and tags: yes. `--delete`: %s. CP codes: %s. Environments: %s.",
		Quote(r.Login), r.Role, may(r.Delete, r.ForDelete), may(r.CPCode, r.ForCode), envs)
}

// Acted is what a reply says of a command that acted on a purge.
func Acted(verb, login string, targets int) string {
	switch verb {
	case "retry":
		return fmt.Sprintf("%s tries %s again.", Quote(login), amount(targets, "object", "objects"))
	case "release":
		return Quote(login) + " released this purge."
	default:
		return Quote(login) + " cancelled this purge."
	}
}

package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// scribe writes scripts for the model test: lives of a site, from a seed. It names only
// what it has made before, so that every line does something.
type scribe struct {
	*rand.Rand
	script      []string
	commits     int // c0 … are made
	deployments int
	down        bool
	waited      int
	replicas    bool // two, each with a clock of its own
}

// writeScript writes a script of so many random steps.
func writeScript(random *rand.Rand, steps int, replicas bool) []string {
	a := &scribe{Rand: random, commits: 1, replicas: replicas}
	a.begin()
	for range steps {
		a.step()
	}
	return a.script
}

func (a *scribe) add(format string, args ...any) {
	a.script = append(a.script, fmt.Sprintf(format, args...))
}

// begin starts the server beside a site that lives already. An environment that follows a
// branch starts with a push that the server hears of.
func (a *scribe) begin() {
	a.deploy("production", 0, "success")
	if a.IntN(2) == 0 {
		a.deploy("staging", 0, "success")
	}
	if a.replicas { // their view of GitHub's clock is a second wide
		a.add("wait 3")
		a.add("clock a 30")
		a.add("clock b -30")
	}
	a.add("start")
	if a.replicas {
		a.add("second")
	}
	a.commit()
	a.add("push c1")
	a.add("settle")
	a.add("route %s", a.pick("send", "drop", "hold"))
	a.deploy("staging", 1, "success")
	a.add("route send")
	a.commit()
	a.add("push c2")
	a.deploy("staging", 2, "success")
	a.add("settle")
}

func (a *scribe) deploy(environment string, commit int, state string) {
	a.deployments++
	a.add("deploy d%d %s c%d", a.deployments, environment, commit)
	if state != "" {
		a.add("status d%d %s", a.deployments, state)
	}
}

func (a *scribe) pick(all ...string) string { return all[a.IntN(len(all))] }

func (a *scribe) page() string { return fmt.Sprintf("p%d", a.IntN(8)) }

func (a *scribe) environment() string {
	return a.pick("production", "production", "staging", "Production", "STAGING")
}

// recent is a commit, usually one of the last ones.
func (a *scribe) recent() int {
	if a.IntN(8) == 0 {
		return a.IntN(a.commits)
	}
	return a.commits - 1 - a.IntN(min(a.commits, 3))
}

// step writes one random line, or a few that belong together. The numbers are
// percentages.
func (a *scribe) step() {
	if a.replicas && a.IntN(6) == 0 {
		a.add("clock %s %s", a.pick("a", "b"), a.pick("30", "-30", "0", "3600", "-3600", "-120"))
	}
	switch n := a.IntN(100); {
	case n < 20:
		a.commit()
		if a.IntN(5) > 0 {
			a.push()
		}
	case n < 42:
		a.deploy(a.environment(), a.recent(), a.pick("", "in_progress", "success", "success", "success", "failure"))
	case n < 60 && a.deployments > 0:
		a.status()
	case n < 68:
		a.add("route %s", a.pick("send", "send", "drop", "lose", "hold", "hold"))
	case n < 74:
		a.add("%s %d", a.pick("release", "release", "redeliver"), a.IntN(10))
	case n < 77:
		a.add("comment %s", a.page())
	case n < 86:
		a.trouble()
	case n < 90:
		a.turn()
	case n < 95 && a.waited < 40:
		n := 1 + a.IntN(3)
		a.waited += n
		a.add("wait %d", n)
	default:
		a.add("settle")
	}
}

// commit changes a little, goes back to an earlier tree, or leaves the line.
func (a *scribe) commit() {
	base := a.commits - 1
	if a.IntN(8) == 0 {
		base = a.IntN(a.commits)
	}
	var what []string
	for range 1 + a.IntN(3) {
		switch n := a.IntN(12); {
		case n < 6:
			what = append(what, "edit "+a.page())
		case n < 8:
			what = append(what, "remove "+a.page())
		case n < 10:
			what = append(what, "rename "+a.page()+" "+a.page())
		case n < 11:
			what = append(what, "shell")
		default:
			what = append(what, fmt.Sprintf("like c%d", a.IntN(a.commits)))
		}
	}
	a.add("commit c%d on c%d: %s", a.commits, base, strings.Join(what, " "))
	a.commits++
}

func (a *scribe) push() {
	c := a.commits - 1
	if a.IntN(10) == 0 {
		c = a.recent()
	}
	a.add("push c%d", c)
}

func (a *scribe) status() {
	d := a.deployments - a.IntN(min(a.deployments, 4))
	state := a.pick("success", "success", "success", "success", "failure", "in_progress", "inactive")
	renamed := ""
	if a.IntN(8) == 0 {
		renamed = " as " + a.environment()
	}
	a.add("status d%d %s%s", d, state, renamed)
}

// trouble is what goes wrong next. Usually something follows that runs into it.
func (a *scribe) trouble() {
	switch n := a.IntN(10); {
	case n < 6:
		a.add("akamai %s %d", a.pick("503", "503", "429", "drop", "lost", "lost", "slow", "slow"), 1+a.IntN(3))
		if a.IntN(3) > 0 {
			a.commit()
			a.deploy(a.environment(), a.commits-1, "success")
			if strings.HasPrefix(a.script[len(a.script)-4], "akamai slow") && !a.down {
				a.add("sending")
				a.turn()
			}
		}
	case n < 7:
		a.add("akamai refuse %s", a.page())
	case n < 8:
		a.add("akamai allow")
	default:
		a.add("github %s %d", a.pick("503", "403", "drop", "lost"), 1+a.IntN(6))
	}
}

// turn stops the server, in one way or another, or starts it again.
func (a *scribe) turn() {
	if a.down = !a.down; a.down {
		a.add("%s", a.pick("stop", "crash", "crash"))
	} else {
		a.add("start")
	}
}

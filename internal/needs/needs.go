// Package needs is the one list of what purgebot needs from its GitHub App, and what for.
// Permissions and events have the names of GitHub's OpenAPI description,
// https://github.com/github/rest-api-description (app-permissions, webhooks).
//
// `purgebot setup` asks for what is listed here. `purgebot doctor` and the server check
// it, and the pages that tell an operator what to tick are made from it. GitHub sends an
// event only to an App that subscribed to it and has its permission. An App that lacks
// either receives nothing, and no error tells so.
package needs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

// Need is one feature with what it needs.
type Need struct {
	Feature     string              // in words for people
	Option      string              // the name by which an operator chooses it; "": every App has it
	Trigger     mapping.TriggerKind // of the rules that need it; "": none
	Must        bool                // purgebot is useless without it
	Permissions []Permission
	Events      []string
}

// Permission is a permission on repositories and its level, read or write.
type Permission struct{ Name, Level string }

// String is the permission as doctor prints it.
func (p Permission) String() string { return p.Name + ": " + p.Level }

// All lists every feature that needs something: first the features that every App has,
// then the optional ones. Of relies on it to name each trigger.
func All() []Need {
	read := func(name string) Permission { return Permission{name, "read"} }
	write := func(name string) Permission { return Permission{name, "write"} }
	return []Need{
		{
			Feature: "the rules file, what changed, and what a push announces", Must: true, Trigger: mapping.OnPush,
			Permissions: []Permission{read("contents")}, Events: []string{"push"},
		},
		{
			Feature: "deployments", Must: true, Trigger: mapping.OnDeployment,
			Permissions: []Permission{read("deployments")}, Events: []string{"deployment_status"},
		},
		{Feature: "the status on a commit", Must: true, Permissions: []Permission{write("statuses")}},
		{
			Feature:     "previews on pull requests",
			Permissions: []Permission{write("checks"), read("pull_requests")}, Events: []string{"pull_request"},
		},
		{
			Feature: "buttons, and check runs as a trigger", Trigger: mapping.OnCheck,
			Permissions: []Permission{write("checks")}, Events: []string{"check_run"},
		},
		{
			Feature:     "comments that ask for a purge, and the replies",
			Permissions: []Permission{read("issues"), write("pull_requests")}, Events: []string{"issue_comment"},
		},
		{
			Feature:     "hearing at once that a repository was renamed or deleted",
			Permissions: []Permission{read("metadata")}, Events: []string{"repository"},
		},
		{
			Feature: "commit statuses as a trigger", Option: "status", Trigger: mapping.OnStatus,
			Permissions: []Permission{read("statuses")}, Events: []string{"status"},
		},
		{
			Feature: "workflow runs as a trigger", Option: "workflow", Trigger: mapping.OnWorkflow,
			Permissions: []Permission{read("actions")}, Events: []string{"workflow_run"},
		},
		{
			Feature: "previews in merge queues", Option: "merge-queue",
			Permissions: []Permission{write("checks"), read("merge_queues")}, Events: []string{"merge_group"},
		},
	}
}

// Chosen lists what an App needs if its operator chose the given options.
func Chosen(options ...string) []Need {
	return slices.DeleteFunc(All(), func(n Need) bool { return n.Option != "" && !slices.Contains(options, n.Option) })
}

// Optional lists the features that an operator may choose.
func Optional() []Need {
	return slices.DeleteFunc(All(), func(n Need) bool { return n.Option == "" })
}

// Of is what a trigger of the rules needs. Each trigger must be in All; an unknown one
// panics.
func Of(trigger mapping.TriggerKind) Need {
	all := All()
	return all[slices.IndexFunc(all, func(n Need) bool { return n.Trigger == trigger })]
}

// App is what an App may do and which events it receives; or the same of its installation
// on one account.
type App struct {
	Permissions map[string]string // by name: read, write or admin
	Events      []string
}

// Ask is what to ask GitHub for, for several features together. Write includes read, so
// the higher level counts.
func Ask(all []Need) App {
	a := App{Permissions: map[string]string{}}
	for _, n := range all {
		for _, p := range n.Permissions {
			if !a.may(p) {
				a.Permissions[p.Name] = p.Level
			}
		}
		for _, e := range n.Events {
			if !slices.Contains(a.Events, e) {
				a.Events = append(a.Events, e)
			}
		}
	}
	return a
}

// may reports whether a permission is granted. Write and admin include read.
func (a App) may(p Permission) bool {
	have := a.Permissions[p.Name]
	return have == p.Level || have == "write" || have == "admin"
}

// Lack is what a feature needs and an App doesn't have.
type Lack struct {
	Permissions []Permission
	Events      []string
}

// Lacks compares what a feature needs with what an App has. An App that may write checks
// receives check_run without subscribing, and every App may read metadata.
func (a App) Lacks(n Need) (l Lack) {
	for _, p := range n.Permissions {
		if !a.may(p) && p.Name != "metadata" {
			l.Permissions = append(l.Permissions, p)
		}
	}
	for _, e := range n.Events {
		automatic := e == "check_run" && a.Permissions["checks"] == "write"
		if !automatic && !slices.Contains(a.Events, e) {
			l.Events = append(l.Events, e)
		}
	}
	return l
}

// Nothing reports whether nothing is lacking.
func (l Lack) Nothing() bool { return len(l.Permissions)+len(l.Events) == 0 }

// Title is an event or a permission as GitHub's settings page names it.
func Title(name string) string {
	if name == "statuses" {
		return "Commit statuses"
	}
	name = strings.ReplaceAll(name, "_", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

// Unheard says that an App does not receive the event that a trigger of the rules needs,
// and who must do what; "" if it receives it. installed is what the App may do in the
// repository's account, app what the App asks for.
func Unheard(trigger mapping.TriggerKind, installed, app App, account string) string {
	need := Of(trigger)
	if installed.Lacks(need).Nothing() {
		return ""
	}
	words := fmt.Sprintf("this App does not receive `%s` events: ", need.Events[0])
	// If the App asks for everything, an owner has yet to accept it. Otherwise its
	// operator must ask first.
	lack := app.Lacks(need)
	if lack.Nothing() {
		return words + "an owner of " + account + " must accept its new permissions"
	}
	return words + "its operator must add " + lack.String() + " in the App's settings"
}

// String names what is lacking as GitHub's settings page does.
func (l Lack) String() string {
	var all []string
	for _, p := range l.Permissions {
		all = append(all, fmt.Sprintf("%s (%s)", Title(p.Name), p.Level))
	}
	for _, e := range l.Events {
		all = append(all, Title(e))
	}
	return strings.Join(all, " and ")
}

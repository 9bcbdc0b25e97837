package github

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Rename gives a repository another name. The old name redirects to it.
func (g *Server) Rename(repo, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return err
	}
	r.formerNames = append(r.formerNames, r.fullName())
	if owner, newName, transferred := strings.Cut(name, "/"); transferred {
		r.Owner, name = owner, newName
	}
	r.Name = name
	g.notify()
	return nil
}

// Create makes a repository. Its name may have belonged to another one before; the id is
// different then.
func (g *Server) Create(ctx context.Context, r Repository) error { return g.addRepository(ctx, r) }

// Archive makes a repository read-only.
func (g *Server) Archive(repo string) error {
	return g.change(repo, func(r *repository) { r.archived = true })
}

// Delete deletes a repository. Afterwards it is not found.
func (g *Server) Delete(repo string) error {
	return g.change(repo, func(r *repository) { r.deleted = true })
}

func (g *Server) change(repo string, do func(*repository)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return err
	}
	do(r)
	g.notify()
	return nil
}

// Transfer moves a repository to another account, whose owner accepts it. The App loses
// it. It gets it back if it has an installation there with all repositories. installation
// 0 means that there is none.
func (g *Server) Transfer(ctx context.Context, repo, owner string, installation int64) error {
	_, name, _ := strings.Cut(repo, "/")
	if err := g.RemoveRepository(ctx, repo); err != nil {
		return err
	}
	if err := g.Rename(repo, owner+"/"+name); err != nil {
		return err
	}
	if installation == 0 {
		return nil
	}
	return g.AddRepository(ctx, owner+"/"+name, installation)
}

// RemoveRepository removes a repository from the App's installation and sends
// `installation_repositories`, removed.
func (g *Server) RemoveRepository(ctx context.Context, repo string) error {
	return g.changeRepositories(ctx, repo, "removed", 0)
}

// AddRepository adds a repository to an installation of the App and sends
// `installation_repositories`, added. It makes the installation if there is none.
func (g *Server) AddRepository(ctx context.Context, repo string, installation int64) error {
	return g.changeRepositories(ctx, repo, "added", installation)
}

// changeRepositories moves a repository to installation to, or out of its installation if
// to is 0, and sends the event. It takes g.mu.
func (g *Server) changeRepositories(ctx context.Context, repo, action string, to int64) error {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return err
	}
	from := r.Installation
	if r.Installation = to; to != 0 {
		from = to
		if g.installations[to] == nil {
			g.install(to, r.Owner)
		}
	}
	i := g.installations[from]
	one := []jsonObject{{
		"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
	}}
	fields := jsonObject{
		"installation": g.installationJSON(g.cfg.URL, i), "repository_selection": "selected", "requester": nil,
		"repositories_added": []jsonObject{}, "repositories_removed": []jsonObject{},
	}
	fields["repositories_"+action] = one
	event := g.newEvent(r, "installation_repositories", action, i.account, fields)
	event.Installation = from
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

// Reinstall installs the App again on an account that had uninstalled it, for the same
// repositories, and sends `installation`, created. The installation has another id.
func (g *Server) Reinstall(ctx context.Context, old, id int64) error {
	g.mu.Lock()
	was := g.installations[old]
	if was == nil {
		g.mu.Unlock()
		return fmt.Errorf("installation %d: %w", old, errGithubNoObject)
	}
	g.install(id, was.account)
	for _, r := range g.repos {
		if r.Installation == old {
			r.Installation = id
		}
	}
	g.mu.Unlock()
	return g.changeInstallation(ctx, id, "created", func(*appInstallation) {})
}

// RevokeTokens makes every token invalid that was given out.
func (g *Server) RevokeTokens() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens = map[string]*installationToken{}
}

// Suspend suspends an installation and sends `installation`, suspend.
func (g *Server) Suspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "suspend", func(i *appInstallation) { i.suspendedAt = g.now() })
}

// Unsuspend ends a suspension and sends `installation`, unsuspend.
func (g *Server) Unsuspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "unsuspend", func(i *appInstallation) { i.suspendedAt = time.Time{} })
}

// Ask changes what the App asks for, as its operator does on its settings page. It has no
// effect on an account until the account's owner accepts: see [Server.Accept].
func (g *Server) Ask(permissions map[string]string, events []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg.Permissions, g.cfg.Events = permissions, events
}

// Accept gives an installation what the App asks for at the moment, and sends
// `installation`, new_permissions_accepted.
func (g *Server) Accept(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "new_permissions_accepted", func(i *appInstallation) {
		i.permissions, i.events = g.cfg.Permissions, g.cfg.Events
	})
}

// Uninstall removes the App from an account and sends `installation`, deleted.
func (g *Server) Uninstall(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "deleted", func(i *appInstallation) { i.deleted = true })
}

// changeInstallation changes an installation by do and sends the event. It calls do with
// g.mu held.
func (g *Server) changeInstallation(ctx context.Context, id int64, action string, do func(*appInstallation)) error {
	g.mu.Lock()
	i := g.installations[id]
	if i == nil {
		g.mu.Unlock()
		return fmt.Errorf("installation %d: %w", id, errGithubNoObject)
	}
	do(i)
	repositories := []jsonObject{}
	var one *repository
	for _, r := range g.repos {
		if r.Installation == id && !r.deleted {
			one = r
			repositories = append(repositories, jsonObject{
				"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
			})
		}
	}
	event := g.newEvent(one, "installation", action, i.account, jsonObject{
		"installation": g.installationJSON(g.cfg.URL, i), "repositories": repositories, "requester": nil,
	})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

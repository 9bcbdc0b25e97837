package standin

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Rename gives a repository another name; the old one leads to it by a redirect.
func (g *GitHub) Rename(repo, name string) error {
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

// Archive makes a repository read-only.
func (g *GitHub) Archive(repo string) error {
	return g.change(repo, func(r *githubRepo) { r.archived = true })
}

// Delete deletes a repository: it is not found any more.
func (g *GitHub) Delete(repo string) error {
	return g.change(repo, func(r *githubRepo) { r.deleted = true })
}

func (g *GitHub) change(repo string, do func(*githubRepo)) error {
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

// Transfer moves a repository to another account, as that account's owner
// accepts it. The App loses it, and finds it again if it has an installation
// there with all repositories; 0: it has none.
func (g *GitHub) Transfer(ctx context.Context, repo, owner string, installation int64) error {
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

// RemoveRepository takes a repository from the App's installation and sends
// `installation_repositories`, removed.
func (g *GitHub) RemoveRepository(ctx context.Context, repo string) error {
	return g.changeRepositories(ctx, repo, "removed", 0)
}

// AddRepository gives a repository to an installation of the App, which is
// made if there is none, and sends `installation_repositories`, added.
func (g *GitHub) AddRepository(ctx context.Context, repo string, installation int64) error {
	return g.changeRepositories(ctx, repo, "added", installation)
}

func (g *GitHub) changeRepositories(ctx context.Context, repo, action string, to int64) error {
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
			g.installations[to] = &githubInstallation{id: to, account: r.Owner, createdAt: g.now()}
		}
	}
	i := g.installations[from]
	one := []githubObject{{
		"id": r.ID, "node_id": githubNode("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
	}}
	fields := githubObject{
		"installation": g.installationJSON(g.cfg.URL, i), "repository_selection": "selected", "requester": nil,
		"repositories_added": []githubObject{}, "repositories_removed": []githubObject{},
	}
	fields["repositories_"+action] = one
	event := g.newEvent(r, "installation_repositories", action, i.account, fields)
	event.Installation = from
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

// Reinstall installs the App anew on an account that had uninstalled it, for
// the same repositories, and sends `installation`, created.
func (g *GitHub) Reinstall(ctx context.Context, old, id int64) error {
	g.mu.Lock()
	was := g.installations[old]
	if was == nil {
		g.mu.Unlock()
		return fmt.Errorf("installation %d: %w", old, errGithubNoObject)
	}
	g.installations[id] = &githubInstallation{id: id, account: was.account, createdAt: g.now()}
	for _, r := range g.repos {
		if r.Installation == old {
			r.Installation = id
		}
	}
	g.mu.Unlock()
	return g.changeInstallation(ctx, id, "created", func(*githubInstallation) {})
}

// RevokeTokens lets every token that was given out expire now.
func (g *GitHub) RevokeTokens() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens = map[string]*githubToken{}
}

// Suspend suspends an installation and sends `installation`, suspend.
func (g *GitHub) Suspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "suspend", func(i *githubInstallation) { i.suspendedAt = g.now() })
}

// Unsuspend ends a suspension and sends `installation`, unsuspend.
func (g *GitHub) Unsuspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "unsuspend", func(i *githubInstallation) { i.suspendedAt = time.Time{} })
}

// Uninstall removes the App from an account and sends `installation`, deleted.
func (g *GitHub) Uninstall(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "deleted", func(i *githubInstallation) { i.deleted = true })
}

func (g *GitHub) changeInstallation(ctx context.Context, id int64, action string, do func(*githubInstallation)) error {
	g.mu.Lock()
	i := g.installations[id]
	if i == nil {
		g.mu.Unlock()
		return fmt.Errorf("installation %d: %w", id, errGithubNoObject)
	}
	do(i)
	repositories := []githubObject{}
	var one *githubRepo
	for _, r := range g.repos {
		if r.Installation == id && !r.deleted {
			one = r
			repositories = append(repositories, githubObject{
				"id": r.ID, "node_id": githubNode("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
			})
		}
	}
	event := g.newEvent(one, "installation", action, i.account, githubObject{
		"installation": g.installationJSON(g.cfg.URL, i), "repositories": repositories, "requester": nil,
	})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

// Reasons why a repository is gone, in public words.
const (
	goneDeleted     = "the repository was deleted"
	goneHidden      = "the GitHub App can't see the repository: it was deleted, or taken from the App's installation"
	goneReplaced    = "the repository is gone, and another one has its name"
	goneRemoved     = "the repository was taken from the GitHub App's installation"
	goneSuspended   = "the GitHub App's installation is suspended"
	goneUninstalled = "the GitHub App was uninstalled"
)

// follow asks GitHub for every repository that the App may see, at one call for a
// hundred. The ledger takes over names, installations and default branches. A repository
// that no list has is asked for by itself before it counts as gone; a repository that is
// listed again is back. An installation whose list fails makes none of its repositories
// gone.
func (p *Pipeline) follow(ctx context.Context) (map[int64]github.Info, error) {
	// The ledger is read before GitHub. In the other order, a repository that a webhook
	// adds between the two reads would be in no list, and would look gone.
	known, err := p.Store.AllRepositories(ctx)
	if err != nil {
		return nil, err
	}
	installations, err := p.GitHub.Installations(ctx)
	if err != nil {
		return nil, err
	}
	infos, of := map[int64]github.Info{}, map[int64]int64{}
	suspended := map[int64]bool{}
	unlisted := map[int64]bool{}
	lists := independently(ctx, slices.Values(installations), func(i github.Installation) error {
		if suspended[i.ID] = i.Suspended; i.Suspended {
			return nil
		}
		list, err := p.GitHub.Repositories(ctx, i.ID)
		unlisted[i.ID] = err != nil
		for _, info := range list {
			infos[info.ID], of[info.ID] = info, i.ID
		}
		return err
	})
	if lists != nil && concernsAll(ctx, lists) {
		return nil, lists
	}
	names := independently(ctx, slices.Values(known), func(repo ledger.Repository) error {
		info, there := infos[repo.ID]
		switch {
		case there:
			installation := of[repo.ID]
			delete(of, repo.ID)
			return p.followOne(ctx, repo, info, installation)
		case suspended[repo.Installation]:
			return p.gone(ctx, goneSuspended, repo.ID)
		case repo.Gone == "" && !unlisted[repo.Installation]: // a list that failed proves nothing
			return p.hidden(ctx, repo)
		}
		return nil
	})
	meetings := independently(ctx, maps.Keys(of), func(id int64) error { // what is left in of is not in the ledger
		return p.meet(ctx, infos[id], of[id])
	})
	return infos, errors.Join(lists, names, meetings)
}

// followOne takes over a repository as GitHub lists it now: its names and its branch may
// have changed. What is listed is not gone, whatever the ledger says.
func (p *Pipeline) followOne(ctx context.Context, repo ledger.Repository, info github.Info, installation int64) error {
	now := ledger.Repository{
		ID: repo.ID, Owner: info.Owner, Name: info.Name, Installation: installation, DefaultBranch: info.DefaultBranch,
		FirstSeen: repo.FirstSeen, Compared: repo.Compared, Gone: repo.Gone,
	}
	if now != repo {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "repository changed", slog.String("repository", now.FullName()),
			slog.String("before", repo.FullName()), slog.Int64("installation", installation))
		if _, err := p.Store.SeeRepository(ctx, now); err != nil {
			return err
		}
	}
	if repo.Gone == "" {
		return nil
	}
	return p.back(ctx, repo.ID)
}

// hidden asks GitHub for a repository that no list has. It is gone if GitHub does not
// show it either, or shows another repository under its name. Other errors leave the
// ledger as it is.
func (p *Pipeline) hidden(ctx context.Context, repo ledger.Repository) error {
	info, err := p.repository(repo).Info(ctx)
	_, operator := github.OperatorFault(err)
	switch {
	case operator, github.IsNotFound(err):
		return p.gone(ctx, goneHidden, repo.ID)
	case err == nil && info.ID != repo.ID:
		return p.gone(ctx, goneReplaced, repo.ID)
	}
	return err
}

// meet stores a repository that no webhook told of, if policy lists it. Its FirstSeen is
// now: recovery looks for deployments from that time on.
func (p *Pipeline) meet(ctx context.Context, info github.Info, installation int64) error {
	repo := ledger.Repository{
		ID: info.ID, Owner: info.Owner, Name: info.Name, Installation: installation, DefaultBranch: info.DefaultBranch, FirstSeen: p.githubTime(ctx, p.Now()),
	}
	if info.Archived || !p.Policy().For(repo.FullName()).Listed() {
		return nil
	}
	_, err := p.Store.SeeRepository(ctx, repo)
	return err
}

// heardOf stores a repository as an event names it. The event may be from before a
// rename. So where it differs from the ledger, GitHub is asked which name holds today. A
// new repository may have the name of one that is gone: see replaces.
func (p *Pipeline) heardOf(ctx context.Context, told ledger.Repository) (ledger.Repository, error) {
	known, err := p.Store.Repository(ctx, told.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if err := p.replaces(ctx, told); err != nil {
			return told, err
		}
	case err != nil:
		return told, err
	case !strings.EqualFold(told.FullName(), known.FullName()), told.DefaultBranch != "" && told.DefaultBranch != known.DefaultBranch:
		if told, err = p.today(ctx, told, known); err != nil {
			return told, err
		}
	}
	return p.Store.SeeRepository(ctx, told)
}

// today is the name that a repository has today. GitHub redirects each of its old names
// to the newest one, until another repository takes the old name; therefore both the told
// and the known name are tried, and only an answer with the right id counts.
func (p *Pipeline) today(ctx context.Context, told, known ledger.Repository) (ledger.Repository, error) {
	for _, names := range []ledger.Repository{told, known} {
		info, err := p.GitHub.Repository(cmp.Or(told.Installation, known.Installation), names.Owner, names.Name).Info(ctx)
		if err != nil && !github.IsNotFound(err) {
			return told, err
		}
		if err == nil && info.ID == told.ID {
			told.Owner, told.Name, told.DefaultBranch = info.Owner, info.Name, info.DefaultBranch
			return told, nil
		}
	}
	told.Owner, told.Name, told.DefaultBranch = known.Owner, known.Name, known.DefaultBranch
	return told, nil
}

// replaces looks for other repositories of the ledger that have the name of a new one.
// Each is asked for, and found gone: two repositories can't have one name.
func (p *Pipeline) replaces(ctx context.Context, told ledger.Repository) error {
	others, err := p.Store.Repositories(ctx)
	for _, other := range others {
		if err == nil && strings.EqualFold(other.FullName(), told.FullName()) {
			err = p.hidden(ctx, other)
		}
	}
	return err
}

// reached asks for a repository that is gone in the ledger and that an event tells of: it
// may be back, or the event may be late. It gives the repository as it is then; Gone is
// not empty if it is still gone.
func (p *Pipeline) reached(ctx context.Context, repo ledger.Repository) (ledger.Repository, error) {
	installation, found, err := p.GitHub.InstallationOf(ctx, repo.Owner, repo.Name)
	if err != nil || !found || installation.Suspended {
		return repo, err
	}
	repo.Installation = installation.ID
	info, err := p.repository(repo).Info(ctx)
	if github.IsNotFound(err) || err == nil && info.ID != repo.ID { // another repository may have its name
		return repo, nil
	}
	if err != nil {
		return repo, err
	}
	if _, err := p.Store.SeeRepository(ctx, repo); err != nil {
		return repo, err
	}
	if err := p.back(ctx, repo.ID); err != nil {
		return repo, err
	}
	return p.Store.Repository(ctx, repo.ID)
}

// gone lets the work of repositories wait, and logs it once: the store gives only the ids
// that were not gone before.
func (p *Pipeline) gone(ctx context.Context, why string, ids ...int64) error {
	ids, err := p.Store.Gone(ctx, why, ids...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		p.Log.LogAttrs(ctx, slogWarn, "repository is gone: its work waits until it comes back",
			p.nameOf(ctx, id), slog.String("why", why))
	}
	return nil
}

// back lets the work of repositories go on, and logs it once.
func (p *Pipeline) back(ctx context.Context, ids ...int64) error {
	ids, err := p.Store.Back(ctx, ids...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "repository is back: its work goes on", p.nameOf(ctx, id))
	}
	return nil
}

// nameOf names a repository in the log, by its id where the ledger can't be read.
func (p *Pipeline) nameOf(ctx context.Context, id int64) slog.Attr {
	repo, err := p.Store.Repository(ctx, id)
	if err != nil {
		return slog.Int64("repository_id", id)
	}
	return slog.String("repository", repo.FullName())
}

// reach stores what an event says about what the App may see. is is false for every event
// that says nothing about it. Only what is gone is taken from the event itself; what was
// added is asked of GitHub at once, by the next comparison.
func (p *Pipeline) reach(ctx context.Context, event webhook.Event) (outcome string, is bool, err error) {
	switch e := event.(type) {
	case *webhook.Installation:
		return "installation " + e.Action, true, p.installed(ctx, e)
	case *webhook.InstallationRepositories:
		removed := make([]int64, 0, len(e.Removed))
		for _, r := range e.Removed {
			removed = append(removed, r.ID)
		}
		if err := p.gone(ctx, goneRemoved, removed...); err != nil {
			return "", true, err
		}
		return "repositories " + e.Action, true, p.Store.Hasten(ctx, choreDeployments)
	case *webhook.Repository:
		if e.Action != "deleted" {
			return "", false, nil // its names were noted with the event itself
		}
		return "repository deleted", true, p.gone(ctx, goneDeleted, e.Source().Repository.ID)
	default:
		return "", false, nil
	}
}

// installed follows an installation. What it may see now is asked of GitHub at once, by
// the next comparison: an event that came late may be wrong by now.
func (p *Pipeline) installed(ctx context.Context, e *webhook.Installation) error {
	p.GitHub.ForgetGrants(e.Source().Installation)
	var why string
	switch e.Action {
	case "deleted":
		why = goneUninstalled
	case "suspend":
		why = goneSuspended
	default:
		return p.Store.Hasten(ctx, choreDeployments)
	}
	ids, err := p.Store.RepositoriesOf(ctx, e.Source().Installation)
	if err != nil {
		return err
	}
	if err := p.gone(ctx, why, ids...); err != nil {
		return err
	}
	return p.Store.Hasten(ctx, choreDeployments)
}

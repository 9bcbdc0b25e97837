package github

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/mapping"
)

// grantedFor is how long an answer about what an installation may do is trusted. It is
// longer than the time between two lists of installations, which renew it at no extra
// cost.
const grantedFor = 15 * time.Minute

// granted holds the permissions and events of an installation or, under the id 0, those
// that the App asks for.
type granted struct {
	needs.App
	account string // login; "" for the App itself
	until   time.Time
}

// note keeps what an installation may do, for grantedFor from now.
func (a *App) note(i Installation) granted {
	g := granted{needs.App{Permissions: i.Permissions, Events: i.Events}, i.Account, time.Now().Add(grantedFor)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grants[i.ID] = g
	return g
}

// ForgetGrants makes the next question about an installation's grants ask GitHub again.
// It also forgets what the App asks for, which may have changed too.
func (a *App) ForgetGrants(installation int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.grants, installation)
	delete(a.grants, 0)
}

// known gives what is kept of an installation's grants. ok is false if it is too old or
// was never asked.
func (a *App) known(id int64) (granted, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.grants[id]
	return g, time.Now().Before(g.until)
}

// Unheard says, in public words, that the App does not receive the event that the
// repository's rules name as a trigger. "" means that it does, or that the App is not
// installed here.
//
// It takes at most one call per installation in a quarter of an hour, and one more for
// all of them if something is missing. A handle with installation 0 asks each time.
func (r *Repository) Unheard(ctx context.Context, trigger mapping.TriggerKind) (string, error) {
	own, ok := r.app.known(r.installation)
	if r.installation == 0 || !ok {
		i, found, err := r.app.InstallationOf(ctx, r.owner, r.name)
		if err != nil || !found {
			return "", err
		}
		own = r.app.note(i)
	}
	if own.Lacks(needs.Of(trigger)).Nothing() {
		return "", nil
	}
	app, ok := r.app.known(0)
	if !ok {
		self, err := r.app.Self(ctx)
		if err != nil {
			return "", fmt.Errorf("find what %s lacks: %w", r, err)
		}
		app = r.app.note(Installation{Permissions: self.Permissions, Events: self.Events})
	}
	return needs.Unheard(trigger, own.App, app.App, own.account), nil
}

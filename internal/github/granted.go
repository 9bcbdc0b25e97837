package github

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/mapping"
)

// grantedFor is how long an answer counts that tells what an installation may:
// longer than the lists of installations are apart, which renew it for nothing.
const grantedFor = 15 * time.Minute

// granted is what an installation may, or the App asks for.
type granted struct {
	needs.App
	account string
	until   time.Time
}

// note keeps what an installation may.
func (a *App) note(i Installation) granted {
	g := granted{needs.App{Permissions: i.Permissions, Events: i.Events}, i.Account, time.Now().Add(grantedFor)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grants[i.ID] = g
	return g
}

// ForgetGrants has the next question about what an installation may asked anew.
func (a *App) ForgetGrants(installation int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.grants, installation)
	delete(a.grants, 0)
}

func (a *App) known(id int64) (granted, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.grants[id]
	return g, time.Now().Before(g.until)
}

// Unheard says, in public words, that the App does not hear what the rules of
// the repository name as a trigger; "": it does. That takes a call an
// installation every quarter of an hour at most, and one more for all of them
// where something is missing.
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

package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// Act does a deed with a purge of a repository, OWNER/NAME, and says so in the
// log: the one way, whoever wants it. It gives how many targets a retry freed.
// Its errors are the store's.
func (p *Pipeline) Act(ctx context.Context, repository string, deed store.Deed, act store.Act, judge store.Judge) (freed int, err error) {
	switch deed {
	case store.Retry:
		freed, err = p.Store.Retry(ctx, act, judge)
	case store.Release:
		err = p.Store.Release(ctx, act, judge)
	case store.Cancel:
		err = p.Store.Cancel(ctx, act)
	default:
		err = fmt.Errorf("unknown deed %q", deed)
	}
	if err == nil {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "purge acted on", slog.String("repository", repository), slog.String("purge", act.Purge),
			slog.String("deed", string(deed)), slog.String("by", act.By), slog.Int("freed", freed))
	}
	return freed, err
}

// judgement judges the targets of a purge anew, by the policy of now and the role
// of whoever wants them sent.
type judgement struct {
	grant policy.Grant
	role  policy.Role
	purge ledger.Purge

	need   policy.Role // of the first target that takes more than the role
	what   string
	reason string // of the first target that stays refused
}

// again is a store.Judge.
func (j *judgement) again(t ledger.Target) string {
	refusal := j.grant.Refusal(t.Kind, t.Object, t.Action)
	if j.purge.Cause == ledger.CauseComment {
		refusal = j.grant.PersonRefusal(t.Kind, t.Object)
	}
	if refusal == "" {
		refusal = unsendable(t.Kind, t.Object)
	}
	if refusal == "" && garbled(t.Path, t.Object) {
		refusal = garbledReason
	}
	if refusal == "" && !j.grant.May(j.role, t.Kind, t.Action) {
		if j.need == "" {
			j.need, j.what = j.grant.Required(t.Kind, t.Action), deed(t.Kind, t.Action)
		}
		if refusal = t.Reason; refusal == "" {
			refusal = "this takes the role " + string(j.need)
		}
		return refusal
	}
	if j.reason == "" {
		j.reason = refusal
	}
	return refusal
}

// unsendable says why an object can't be sent as it is written, or "".
func unsendable(kind mapping.Kind, object string) string {
	if err := purger.Check(purger.Kind(kind), object); err != nil {
		return err.Error()
	}
	if kind != mapping.URL {
		return ""
	}
	address, _, _ := strings.Cut(object, "?")
	if slices.ContainsFunc(strings.Split(address, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return `the URL has a "." or ".." folder, which no browser requests`
	}
	return ""
}

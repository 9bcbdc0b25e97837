package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Self is the App as GitHub knows it.
type Self struct {
	ID          int64             `json:"id"`
	Slug        string            `json:"slug"` // the author of its comments is "<slug>[bot]"
	Name        string            `json:"name"`
	Permissions map[string]string `json:"permissions"` // by name, for example contents: read
	Events      []string          `json:"events"`
}

// Self asks GitHub who the App is. An answer proves that id and private key belong
// together.
func (a *App) Self(ctx context.Context) (Self, error) {
	var s Self
	_, err := a.own.do(ctx, call{op: "read App", path: "app"}, &s)
	return s, err
}

// Hook is the App's own webhook, as GitHub has it configured.
type Hook struct {
	URL         string `json:"url"`
	ContentType string `json:"content_type"` // json or form
	Secret      string `json:"secret"`       // stars if there is one, "" if not; GitHub never shows it
	InsecureSSL string `json:"insecure_ssl"` // "1": GitHub accepts any certificate
}

// Hook asks where GitHub sends the App's webhooks.
func (a *App) Hook(ctx context.Context) (Hook, error) {
	var h Hook
	_, err := a.own.do(ctx, call{op: "read webhook of the App", path: "app/hook/config"}, &h)
	return h, err
}

// Installation is one account that installed the App, and what it granted.
type Installation struct {
	ID          int64
	Account     string            // login
	Suspended   bool              // every call with its token fails until an owner unsuspends it
	Permissions map[string]string // granted; may be less than the App asks for today
	Events      []string          // webhooks that the App gets for it
}

// listPages bounds the App's own lists to 10,000 elements.
const listPages = 100

// Installations lists the accounts where the App is installed. More than 10,000 are an
// error, not a shorter list. It also renews what is known of each installation's grants.
func (a *App) Installations(ctx context.Context) ([]Installation, error) {
	var all []Installation
	more, err := pages(call{op: "list installations", path: "app/installations"}, listPages, func(c call) (http.Header, error) {
		var page []installationAnswer
		header, err := a.own.do(ctx, c, &page)
		for _, i := range page {
			all = append(all, i.installation())
			a.note(all[len(all)-1])
		}
		return header, err
	}, func() bool { return true })
	if err == nil && more {
		err = fmt.Errorf("list installations: there are more than %d", len(all))
	}
	return all, err
}

// InstallationOf asks which installation has a repository. found is false if the App does
// not see the repository.
func (a *App) InstallationOf(ctx context.Context, owner, name string) (i Installation, found bool, err error) {
	path, err := repositoryPath(owner, name)
	if err != nil {
		return i, false, fmt.Errorf("find installation of %s/%s: %w", owner, name, err)
	}
	var answer installationAnswer
	_, err = a.own.do(ctx, call{op: "find installation of " + owner + "/" + name, path: path + "/installation"}, &answer)
	if IsNotFound(err) {
		return i, false, nil
	}
	return answer.installation(), err == nil, err
}

// installationAnswer is an installation in GitHub's answers.
type installationAnswer struct {
	ID      int64 `json:"id"`
	Account struct {
		Login string `json:"login"`
		Slug  string `json:"slug"` // an enterprise has a slug and no login
	} `json:"account"`
	SuspendedAt *time.Time        `json:"suspended_at"`
	Permissions map[string]string `json:"permissions"`
	Events      []string          `json:"events"`
}

func (a *installationAnswer) installation() Installation {
	return Installation{a.ID, cmp.Or(a.Account.Login, a.Account.Slug), a.SuspendedAt != nil, a.Permissions, a.Events}
}

// Repositories lists the repositories that an installation may see. More than 10,000 are
// an error, not a shorter list.
func (a *App) Repositories(ctx context.Context, installation int64) ([]Info, error) {
	var all []Info
	client := a.installation(installation)
	c := call{op: "list repositories of installation " + strconv.FormatInt(installation, 10), path: "installation/repositories"}
	more, err := pages(c, listPages, func(c call) (http.Header, error) {
		var page struct {
			Repositories []repositoryAnswer `json:"repositories"`
		}
		header, err := client.do(ctx, c, &page)
		for _, r := range page.Repositories {
			all = append(all, r.info())
		}
		return header, err
	}, func() bool { return true })
	if err == nil && more {
		err = fmt.Errorf("%s: there are more than %d", c.op, len(all))
	}
	return all, err
}

// Delivery is one attempt to deliver a webhook. Several attempts share a GUID.
type Delivery struct {
	ID           int64  `json:"id"`   // of this attempt
	GUID         string `json:"guid"` // X-GitHub-Delivery, the same for all attempts
	Event        string `json:"event"`
	Action       string `json:"action"`
	StatusCode   int    `json:"status_code"`     // our answer's
	Installation int64  `json:"installation_id"` // 0: the event has none
	Repository   int64  `json:"repository_id"`   // 0: the event has none

	DeliveredAt time.Time `json:"delivered_at"`
}

// FailedDeliveries lists the webhooks since a moment that no attempt brought here: of
// each webhook its newest attempt, the oldest webhook first. At most the newest 10,000
// attempts are read; more says that there are others since that moment.
//
// GitHub never tries again by itself, and keeps deliveries for three days on github.com.
// A caller must ask more often than that. A webhook that GitHub never sent, because it
// was over 25 MB, is not in the list.
// https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks
// https://docs.github.com/en/webhooks/webhook-events-and-payloads
func (a *App) FailedDeliveries(ctx context.Context, since time.Time) (failed []Delivery, more bool, err error) {
	since = since.Truncate(time.Second) // GitHub records whole seconds
	// One attempt that got a 2xx is enough, even if a later attempt of the same GUID
	// failed.
	arrived := map[string]bool{}
	newest := map[string]Delivery{}
	wanted := true
	c := call{op: "list webhook deliveries", path: "app/hook/deliveries", query: url.Values{}}
	more, err = pages(c, listPages, func(c call) (http.Header, error) {
		var page []Delivery
		header, err := a.own.do(ctx, c, &page)
		for _, d := range page {
			if d.DeliveredAt.Before(since) {
				wanted = false
				continue
			}
			if d.StatusCode >= 200 && d.StatusCode <= 299 {
				arrived[d.GUID] = true
			}
			if known, ok := newest[d.GUID]; !ok || d.DeliveredAt.After(known.DeliveredAt) {
				newest[d.GUID] = d
			}
		}
		return header, err
	}, func() bool { return wanted })
	if err != nil {
		return nil, false, err
	}
	for guid, d := range newest {
		if !arrived[guid] {
			failed = append(failed, d)
		}
	}
	slices.SortFunc(failed, func(a, b Delivery) int { return a.DeliveredAt.Compare(b.DeliveredAt) })
	return failed, more, nil
}

// LastDelivery is the newest attempt to deliver a webhook. found is false if GitHub
// remembers none.
func (a *App) LastDelivery(ctx context.Context) (last Delivery, found bool, err error) {
	var page []Delivery
	_, err = a.own.do(ctx, call{op: "read the last webhook delivery", path: "app/hook/deliveries", query: url.Values{"per_page": {"1"}}}, &page)
	if err != nil || len(page) == 0 {
		return last, false, err
	}
	return page[0], true, nil
}

// Redeliver asks GitHub to deliver a webhook again, by the id of an attempt. The new
// attempt has the same GUID and arrives some time later.
func (a *App) Redeliver(ctx context.Context, id int64) error {
	_, err := a.own.do(ctx, call{
		op: "redeliver webhook " + strconv.FormatInt(id, 10), method: http.MethodPost,
		path: fmt.Sprintf("app/hook/deliveries/%d/attempts", id),
	}, nil)
	return err
}

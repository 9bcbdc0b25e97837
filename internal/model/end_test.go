package model

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// end stops all faults, lets everything come to rest, and checks the result.
func (p *life) end(ctx context.Context) (problems []string, err error) {
	p.akamaiF.left.Store(0)
	p.githubF.left.Store(0)
	p.route.Store(int32(github.Send))
	if p.second != nil { // the clocks are as right as they have to be
		p.wrong[0].Store(int64(30 * time.Second))
		p.wrong[1].Store(-int64(30 * time.Second))
	}
	if err := p.up(ctx); err != nil {
		return nil, err
	}
	p.GitHub.Release(ctx)
	if problems = p.recover(ctx); len(problems) > 0 {
		return problems, nil
	}
	p.refused.Store(nil)
	if retried, err := p.retry(ctx); err != nil || retried {
		if problems = p.rest(ctx); err != nil || len(problems) > 0 {
			return problems, err
		}
	}
	problems = append(p.ref.problems(), p.words()...)
	replayed, err := p.replay(ctx)
	return append(problems, replayed...), err
}

// recover waits until the server has asked GitHub for what it missed, and has come to
// rest.
func (p *life) recover(ctx context.Context) (problems []string) {
	compared := func() int { return strings.Count(p.said.String(), `msg="compared with GitHub"`) }
	before := compared()
	if err := p.Server.Store().Hasten(ctx, "deliveries", "deployments"); err != nil {
		return []string{err.Error()}
	}
	return p.poll(ctx, func() []string {
		if compared() == before {
			return []string{"GitHub was not asked what was missed"}
		}
		return p.restless(ctx)
	})
}

// rest waits until nothing is left to do.
func (p *life) rest(ctx context.Context) (problems []string) {
	return p.poll(ctx, func() []string { return p.restless(ctx) })
}

// poll waits until look finds no problem. Time runs faster meanwhile, so that nobody
// waits for real back-offs.
func (p *life) poll(ctx context.Context, look func() []string) (problems []string) {
	ctx, cancel := context.WithTimeout(ctx, servertest.Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if problems = look(); len(problems) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return append(problems, "it did not come to rest")
		case <-tick.C:
			p.further.Add(int64(300 * time.Millisecond))
		}
	}
}

// restless says what is still under way, or is not live as it should be.
func (p *life) restless(ctx context.Context) (problems []string) {
	q, err := p.Server.Store().Queue(ctx)
	if err != nil || q.Deliveries+q.Environments+q.Targets+q.Posts > 0 {
		problems = append(problems, fmt.Sprintf("left: %+v %v", q, err))
	}
	unended, err := p.Server.Store().Unended(ctx, 100)
	if err != nil || len(unended) > 0 {
		problems = append(problems, fmt.Sprintf("purges still open: %+v %v", unended, err))
	}
	for environment, want := range p.ref.live {
		if want.unseen {
			continue
		}
		env, err := p.Server.Store().FindEnvironment(ctx, 1, environment)
		known := err == nil && env.Live.SHA == want.sha && env.Desired == env.Live && (want.status == 0 || env.Live.Status == want.status)
		if !known {
			problems = append(problems, fmt.Sprintf("ledger: %s has live %s (status %d), desired %s; deployed is %s (status %d) %v",
				environment, p.name(env.Live.SHA), env.Live.Status, p.name(env.Desired.SHA), p.name(want.sha), want.status, err))
		}
	}
	return problems
}

// name is a commit's name in the script.
func (p *life) name(sha string) string {
	for name, c := range p.commits {
		if c.sha == sha {
			return name
		}
	}
	return sha
}

// retry presses Retry on every purge that has refused objects.
func (p *life) retry(ctx context.Context) (retried bool, err error) {
	purges, err := p.Server.Store().Recent(ctx, 1000)
	if err != nil {
		return false, err
	}
	for _, purge := range purges {
		if purge.Counts.Failed == 0 {
			continue
		}
		retried = true
		if _, err := p.Server.Store().Retry(ctx, store.Act{Purge: purge.ID, By: "adam"}, func(mapping.Target) string { return "" }); err != nil {
			return false, err
		}
	}
	return retried, nil
}

// words checks the statuses that GitHub shows at the end.
func (p *life) words() (problems []string) {
	last := map[string]github.Status{}
	for _, s := range p.GitHub.Statuses(p.FullName(), "") {
		last[s.SHA+" "+s.Context] = s
		if n := len([]rune(s.Description)); n > 140 {
			problems = append(problems, fmt.Sprintf("%d characters: %s", n, s.Description))
		}
	}
	for surface, s := range last {
		if s.State == "pending" {
			problems = append(problems, "pending for ever: "+surface+": "+s.Description)
		}
	}
	for environment, all := range p.ref.all {
		for _, success := range all {
			s, told := last[success.sha+" purge/"+environment]
			closed := strings.Contains(s.Description, " purged in ") || strings.HasPrefix(s.Description, "Purged as part of ") || strings.HasPrefix(s.Description, "Nothing to purge") ||
				p.ref.failed[environment][success.sha] && strings.HasPrefix(s.Description, "Deploy failed") ||
				p.ref.again[environment][success.sha] && strings.Contains(s.Description, "when "+environment)
			quiet := environment == follower // a push that another one overtook has no status
			if !success.unseen && (told && (s.State != "success" || !closed) || !told && !quiet) {
				problems = append(problems, fmt.Sprintf("%s was deployed to %s, and its status is %s %q", p.name(success.sha), environment, s.State, s.Description))
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

// replay tells every fact once more, under another delivery id. That must change nothing.
func (p *life) replay(ctx context.Context) (problems []string, err error) {
	purges := len(p.Akamai.Accepted())
	seen := map[string]bool{}
	for _, d := range p.GitHub.Deliveries() {
		if seen[d.GUID] || d.StatusCode/100 != 2 || d.Event != "push" && d.Event != "deployment_status" && d.Event != "issue_comment" {
			continue
		}
		seen[d.GUID] = true
		if err := p.tell(ctx, d); err != nil {
			return nil, err
		}
	}
	for _, problem := range p.rest(ctx) {
		problems = append(problems, "after a replay: "+problem)
	}
	for _, purge := range p.Akamai.Accepted()[purges:] {
		problems = append(problems, fmt.Sprintf("a replay purged %s %v", purge.Network, purge.Objects))
	}
	for _, problem := range p.words() {
		problems = append(problems, "after a replay: "+problem)
	}
	return problems, nil
}

// tell sends a delivery to the server as GitHub would, signed, under another id.
func (p *life) tell(ctx context.Context, d github.Delivery) error {
	mac := hmac.New(sha256.New, []byte(p.Secret))
	mac.Write(d.Body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Server.Addr()+"/webhook", bytes.NewReader(d.Body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", d.Event)
	r.Header.Set("X-GitHub-Delivery", "again-"+d.GUID)
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("a delivery told again was answered %s", answer.Status)
	}
	return nil
}

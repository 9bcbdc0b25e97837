package standin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // GitHub's legacy signature
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const githubMaxPayload = 25 << 20 // GitHub silently sends nothing bigger

// GitHubDelivery is a webhook event and one attempt to deliver it.
type GitHubDelivery struct {
	ID           int64  // of the attempt; 0 before the first
	GUID         string // X-GitHub-Delivery, the same for all attempts
	Event        string
	Action       string
	Repository   string // OWNER/NAME
	RepositoryID int64
	Installation int64
	Body         []byte

	Redelivery  bool
	DeliveredAt time.Time
	Duration    time.Duration
	StatusCode  int    // 0: no answer
	Status      string // "OK", "timed out", …
	Response    string
	Header      http.Header // as sent
}

// GitHubRoute is what becomes of an event on its way to the webhook.
type GitHubRoute int

// The ways of an event. A dropped one was never sent, and GitHub's list of
// deliveries does not know it; a lost one is listed as failed; a held one waits
// for [GitHub.Release].
const (
	GitHubSend GitHubRoute = iota
	GitHubDrop
	GitHubLose
	GitHubHold
)

// Route asks f what becomes of each new event; nil: all are sent. To repeat
// one, see [GitHub.Redeliver]; to reorder some, hold and release them.
func (g *GitHub) Route(f func(GitHubDelivery) GitHubRoute) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.route = f
}

// SetWebhook says where events go from now on, signed with which secret.
func (g *GitHub) SetWebhook(url, secret string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg.WebhookURL, g.cfg.WebhookSecret = url, secret
}

// Deliveries lists all attempts in the order in which they ended.
func (g *GitHub) Deliveries() []GitHubDelivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]GitHubDelivery, len(g.deliveries))
	for i, d := range g.deliveries {
		all[i] = *d
	}
	return all
}

// Held lists the events that wait for [GitHub.Release], oldest first.
func (g *GitHub) Held() []GitHubDelivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]GitHubDelivery, len(g.held))
	for i, d := range g.held {
		all[i] = *d
	}
	return all
}

// Release sends held events, one after the other in the order given; all of
// them, oldest first, if none is named.
func (g *GitHub) Release(ctx context.Context, guids ...string) {
	if len(guids) == 0 {
		for _, d := range g.Held() {
			guids = append(guids, d.GUID)
		}
	}
	for _, guid := range guids {
		g.mu.Lock()
		i := slices.IndexFunc(g.held, func(d *GitHubDelivery) bool { return d.GUID == guid })
		if i < 0 {
			g.mu.Unlock()
			continue
		}
		d := g.held[i]
		g.held = slices.Delete(g.held, i, i+1)
		g.mu.Unlock()
		g.attempt(ctx, d)
	}
}

// Redeliver sends an event that was tried before once more, under the same guid.
func (g *GitHub) Redeliver(ctx context.Context, guid string) (GitHubDelivery, error) {
	g.mu.Lock()
	i := slices.IndexFunc(g.deliveries, func(d *GitHubDelivery) bool { return d.GUID == guid })
	if i < 0 {
		g.mu.Unlock()
		return GitHubDelivery{}, fmt.Errorf("redeliver %s: no such delivery", guid)
	}
	again := *g.deliveries[i]
	g.mu.Unlock()
	again.Redelivery = true
	return g.attempt(ctx, &again), nil
}

// newEvent makes an event with what every event has, or nil if the App gets
// none of its kind. The caller holds g.mu.
func (g *GitHub) newEvent(r *githubRepo, event, action, sender string, fields githubObject) *GitHubDelivery {
	if !g.subscribed(event) {
		return nil
	}
	return g.makeEvent(r, event, action, sender, fields)
}

func (g *GitHub) makeEvent(r *githubRepo, event, action, sender string, fields githubObject) *GitHubDelivery {
	body := githubObject{"sender": g.userJSON(g.cfg.URL, sender)}
	if !strings.HasPrefix(event, "installation") {
		if i := g.installations[r.Installation]; i == nil || i.deleted || !i.suspendedAt.IsZero() {
			return nil
		}
		body["repository"] = g.repositoryJSON(g.cfg.URL, r)
		body["installation"] = githubObject{"id": r.Installation, "node_id": githubNode("I", r.Installation)}
	}
	if action != "" {
		body["action"] = action
	}
	maps.Copy(body, fields)
	text, err := json.Marshal(body)
	if err != nil {
		g.cfg.Log.Error("github stand-in can't encode an event", "event", event, "error", err)
		return nil
	}
	d := &GitHubDelivery{GUID: githubGUID(), Event: event, Action: action, Body: text}
	if r != nil {
		d.Repository, d.RepositoryID, d.Installation = r.fullName(), r.ID, r.Installation
	}
	return d
}

// subscribed says whether the App gets an event: those about its installation
// always, checks whenever it may write them, others if it asked for them and has
// the permission that they need.
func (g *GitHub) subscribed(event string) bool {
	if strings.HasPrefix(event, "installation") || strings.HasPrefix(event, "check_") && g.cfg.Permissions["checks"] == "write" {
		return true
	}
	permission := "contents" // push, create, delete
	switch event {
	case "deployment", "deployment_status":
		permission = "deployments"
	case "pull_request":
		permission = "pull_requests"
	case "issue_comment":
		permission = "issues"
	case "status":
		permission = "statuses"
	case "check_run", "check_suite":
		permission = "checks"
	case "workflow_run":
		permission = "actions"
	}
	return slices.Contains(g.cfg.Events, event) && githubAllows(g.cfg.Permissions, permission+":read")
}

func githubGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// emitLater makes an event and sends it while the caller goes on. The caller holds g.mu.
func (g *GitHub) emitLater(r *githubRepo, event, action, sender string, fields githubObject) {
	g.sendLater(g.newEvent(r, event, action, sender, fields))
}

// sendLater sends an event while the caller goes on. The caller holds g.mu.
func (g *GitHub) sendLater(d *GitHubDelivery) {
	if d == nil || g.closed || g.cfg.WebhookURL == "" && g.route == nil {
		return
	}
	g.hooks.Go(func() { g.send(context.Background(), d) })
}

// send lets an event go its way and waits until the webhook answered; GitHub
// never tries again by itself. A nil event is one that the App doesn't get.
func (g *GitHub) send(ctx context.Context, d *GitHubDelivery) string {
	if d == nil || len(d.Body) > githubMaxPayload {
		return ""
	}
	g.mu.Lock()
	route := g.route
	g.mu.Unlock()
	way := GitHubSend
	if route != nil {
		way = route(*d)
	}
	switch way {
	case GitHubSend:
		g.attempt(ctx, d)
	case GitHubLose:
		lost := *d
		lost.Status, lost.DeliveredAt = "failed to connect to host", g.now()
		g.keep(&lost)
	case GitHubHold:
		g.mu.Lock()
		g.held = append(g.held, d)
		g.notify()
		g.mu.Unlock()
	case GitHubDrop:
	}
	return d.GUID
}

func (g *GitHub) keep(d *GitHubDelivery) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d.ID = g.nextID()
	g.deliveries = append(g.deliveries, d)
	g.notify()
}

// attempt posts an event once and keeps what came of it.
func (g *GitHub) attempt(ctx context.Context, event *GitHubDelivery) GitHubDelivery {
	g.mu.Lock()
	url, secret := g.cfg.WebhookURL, g.cfg.WebhookSecret
	g.mu.Unlock()
	if url == "" {
		return *event
	}
	d := *event
	d.DeliveredAt, d.Header = g.now(), g.hookHeader(&d, secret)
	d.StatusCode, d.Status, d.Response = 0, "", ""
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.cfg.HookTimeout)
	defer cancel()
	status, response, err := g.post(ctx, url, &d)
	d.Duration = time.Since(start)
	var network net.Error
	switch {
	case err == nil:
		d.StatusCode, d.Response, d.Status = status, response, "OK"
		if status < 200 || status > 299 {
			d.Status = fmt.Sprintf("Invalid HTTP Response: %d", status)
		}
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout():
		d.Status = "timed out"
	default:
		d.Status = "failed to connect to host"
	}
	g.cfg.Log.DebugContext(ctx, "github stand-in delivered", "event", d.Event, "guid", d.GUID, "status", d.Status)
	g.keep(&d)
	return d
}

func (g *GitHub) post(ctx context.Context, url string, d *GitHubDelivery) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return 0, "", err
	}
	request.Header = d.Header.Clone()
	response, err := g.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(text), err
}

func (g *GitHub) hookHeader(d *GitHubDelivery, secret string) http.Header {
	header := http.Header{
		"Accept": {"*/*"}, "Content-Type": {"application/json"}, "User-Agent": {"GitHub-Hookshot/5f0c1d2"},
		"X-Github-Event": {d.Event}, "X-Github-Delivery": {d.GUID}, "X-Github-Hook-Id": {"480000001"},
		"X-Github-Hook-Installation-Target-Id":   {strconv.FormatInt(g.cfg.AppID, 10)},
		"X-Github-Hook-Installation-Target-Type": {"integration"},
	}
	if g.cfg.BasePath != "" {
		header.Set("X-Github-Enterprise-Version", "3.17.0")
		header.Set("X-Github-Enterprise-Host", "github.example.com")
	}
	if secret != "" {
		sign := func(algorithm func() hash.Hash) string {
			mac := hmac.New(algorithm, []byte(secret))
			mac.Write(d.Body)
			return hex.EncodeToString(mac.Sum(nil))
		}
		header.Set("X-Hub-Signature", "sha1="+sign(sha1.New))
		header.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New))
	}
	return header
}

// getHookConfig is GET /app/hook/config.
func (g *GitHub) getHookConfig(*githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	body := githubObject{"content_type": "json", "insecure_ssl": "0", "url": g.cfg.WebhookURL}
	if g.cfg.WebhookSecret != "" {
		body["secret"] = "********"
	}
	return githubOK(body)
}

func githubDeliveryJSON(d *GitHubDelivery) githubObject {
	var action any
	if d.Action != "" {
		action = d.Action
	}
	return githubObject{
		"id": d.ID, "guid": d.GUID, "delivered_at": d.DeliveredAt, "redelivery": d.Redelivery,
		"duration": d.Duration.Round(10 * time.Millisecond).Seconds(), "status": d.Status, "status_code": d.StatusCode,
		"event": d.Event, "action": action, "installation_id": d.Installation, "repository_id": d.RepositoryID, "throttled_at": nil,
	}
}

// remembered says whether GitHub still knows a delivery: for 3 days.
func (g *GitHub) remembered(d *GitHubDelivery) bool {
	return d.DeliveredAt.After(g.cfg.Now().Add(-3 * 24 * time.Hour))
}

func (d *GitHubDelivery) succeeded() bool { return d.StatusCode >= 200 && d.StatusCode <= 299 }

// listDeliveries is GET /app/hook/deliveries, newest first, paged by cursor.
func (g *GitHub) listDeliveries(x *githubExchange) githubReply {
	query := x.URL.Query()
	size := githubNumber(query.Get("per_page"), 30, 100)
	cursor := int64(1) << 62
	if text := query.Get("cursor"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return githubFail(http.StatusUnprocessableEntity, "Invalid cursor")
		}
		cursor = n
	}
	wanted := query.Get("status")
	g.mu.Lock()
	defer g.mu.Unlock()
	items, header := []githubObject{}, http.Header{}
	for _, d := range slices.Backward(g.deliveries) {
		if d.ID > cursor || !g.remembered(d) || wanted == "success" && !d.succeeded() || wanted == "failure" && d.succeeded() {
			continue
		}
		if len(items) == size {
			header.Set("Link", x.link("next", "cursor", strconv.FormatInt(d.ID, 10)))
			break
		}
		items = append(items, githubDeliveryJSON(d))
	}
	return githubReply{status: http.StatusOK, header: header, body: items}
}

// findDelivery copies a delivery that GitHub still knows, or gives nil.
func (g *GitHub) findDelivery(id int64) *GitHubDelivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.deliveries {
		if d.ID == id && g.remembered(d) {
			found := *d
			return &found
		}
	}
	return nil
}

// getDelivery is GET /app/hook/deliveries/{delivery}.
func (g *GitHub) getDelivery(x *githubExchange) githubReply {
	d := g.findDelivery(x.id("delivery"))
	if d == nil {
		return githubNotFound()
	}
	headers := githubObject{}
	for key := range d.Header {
		headers[key] = d.Header.Get(key)
	}
	body := githubDeliveryJSON(d)
	body["url"] = ""
	body["request"] = githubObject{"headers": headers, "payload": json.RawMessage(d.Body)}
	body["response"] = githubObject{"headers": githubObject{}, "payload": d.Response}
	return githubOK(body)
}

// redeliver is POST /app/hook/deliveries/{delivery}/attempts: the new attempt
// has the old guid.
func (g *GitHub) redeliver(x *githubExchange) githubReply {
	d := g.findDelivery(x.id("delivery"))
	if d == nil {
		return githubNotFound()
	}
	d.Redelivery = true
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.hooks.Go(func() { g.attempt(context.Background(), d) })
	}
	return githubReply{status: http.StatusAccepted, body: githubObject{}}
}

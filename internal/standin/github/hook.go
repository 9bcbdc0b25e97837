package github

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

const maxPayload = 25 << 20 // GitHub drops a larger event without telling

// Delivery is a webhook event and one attempt to deliver it.
type Delivery struct {
	ID           int64  // of the attempt; 0 before the first one
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
	StatusCode  int    // 0: no answer came
	Status      string // "OK", "timed out", …
	Response    string
	Header      http.Header // as sent
}

// Route says what happens to an event on its way to the webhook.
type Route int

// The routes of an event. A dropped event is never sent, and GitHub's list of deliveries
// does not have it. A lost one is listed as failed. A held one waits for
// [Server.Release].
const (
	Send Route = iota
	Drop
	Lose
	Hold
)

// Route sets a function that decides what happens to each new event. nil sends all of
// them. To repeat an event, see [Server.Redeliver]. To change the order, hold some events
// and release them.
func (g *Server) Route(f func(Delivery) Route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.route = f
}

// SetWebhook sets where events are sent from now on, and the secret that signs them.
func (g *Server) SetWebhook(url, secret string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg.WebhookURL, g.cfg.WebhookSecret = url, secret
}

// Deliveries lists all attempts in the order in which they ended.
func (g *Server) Deliveries() []Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Delivery, len(g.deliveries))
	for i, d := range g.deliveries {
		all[i] = *d
	}
	return all
}

// Held lists the events that wait for [Server.Release], oldest first.
func (g *Server) Held() []Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Delivery, len(g.held))
	for i, d := range g.held {
		all[i] = *d
	}
	return all
}

// Release sends held events one after the other, in the given order. Without any guid it
// sends all of them, the oldest first.
func (g *Server) Release(ctx context.Context, guids ...string) {
	if len(guids) == 0 {
		for _, d := range g.Held() {
			guids = append(guids, d.GUID)
		}
	}
	for _, guid := range guids {
		g.mu.Lock()
		i := slices.IndexFunc(g.held, func(d *Delivery) bool { return d.GUID == guid })
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

// Redeliver sends an event again that was tried before, with the same guid.
func (g *Server) Redeliver(ctx context.Context, guid string) (Delivery, error) {
	g.mu.Lock()
	i := slices.IndexFunc(g.deliveries, func(d *Delivery) bool { return d.GUID == guid })
	if i < 0 {
		g.mu.Unlock()
		return Delivery{}, fmt.Errorf("redeliver %s: no such delivery", guid)
	}
	again := *g.deliveries[i]
	g.mu.Unlock()
	again.Redelivery = true
	return g.attempt(ctx, &again), nil
}

// newEvent makes an event with the fields that all events have, or nil if the App does
// not get this kind. The caller holds g.mu.
func (g *Server) newEvent(r *repository, event, action, sender string, fields jsonObject) *Delivery {
	if !g.subscribed(r, event) {
		return nil
	}
	return g.makeEvent(r, event, action, sender, fields)
}

// makeEvent makes an event without asking whether the App subscribed. It returns nil
// while the App is uninstalled or suspended. The caller holds g.mu.
func (g *Server) makeEvent(r *repository, event, action, sender string, fields jsonObject) *Delivery {
	body := jsonObject{"sender": g.userJSON(g.cfg.URL, sender)}
	if !strings.HasPrefix(event, "installation") {
		if i := g.installations[r.Installation]; i == nil || i.deleted || !i.suspendedAt.IsZero() {
			return nil
		}
		body["repository"] = g.repositoryJSON(g.cfg.URL, r)
		body["installation"] = jsonObject{"id": r.Installation, "node_id": nodeID("I", r.Installation)}
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
	d := &Delivery{GUID: newGUID(), Event: event, Action: action, Body: text}
	if r != nil {
		d.Repository, d.RepositoryID, d.Installation = r.fullName(), r.ID, r.Installation
	}
	return d
}

// subscribed says whether the App gets an event. It always gets those about its
// installation, and those about checks if it may write checks. Any other event needs a
// subscription and a permission. The caller holds g.mu.
func (g *Server) subscribed(r *repository, event string) bool {
	if strings.HasPrefix(event, "installation") {
		return true
	}
	i := g.installations[r.Installation]
	if i == nil {
		return false
	}
	if strings.HasPrefix(event, "check_") && i.permissions["checks"] == "write" {
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
	case "merge_group":
		permission = "merge_queues"
	case "repository":
		permission = "metadata"
	}
	return slices.Contains(i.events, event) && allows(i.permissions, permission+":read")
}

func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// emitLater makes an event and sends it while the caller continues. The caller holds
// g.mu.
func (g *Server) emitLater(r *repository, event, action, sender string, fields jsonObject) {
	g.sendLater(g.newEvent(r, event, action, sender, fields))
}

// sendLater sends an event while the caller continues. The caller holds g.mu.
func (g *Server) sendLater(d *Delivery) {
	if d == nil || g.closed || g.cfg.WebhookURL == "" && g.route == nil {
		return
	}
	g.hooks.Go(func() { g.send(context.Background(), d) })
}

// send sends an event along its route and waits for the webhook's answer. GitHub never
// tries again by itself. A nil event is one that the App does not get.
func (g *Server) send(ctx context.Context, d *Delivery) string {
	if d == nil || len(d.Body) > maxPayload {
		return ""
	}
	g.mu.Lock()
	route := g.route
	g.mu.Unlock()
	way := Send
	if route != nil {
		way = route(*d)
	}
	switch way {
	case Send:
		g.attempt(ctx, d)
	case Lose:
		lost := *d
		lost.Status, lost.DeliveredAt = "failed to connect to host", g.now()
		g.keep(&lost)
	case Hold:
		g.mu.Lock()
		g.held = append(g.held, d)
		g.notify()
		g.mu.Unlock()
	case Drop:
	}
	return d.GUID
}

func (g *Server) keep(d *Delivery) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d.ID = g.nextID()
	g.deliveries = append(g.deliveries, d)
	g.notify()
}

// attempt posts an event once and records the result.
func (g *Server) attempt(ctx context.Context, event *Delivery) Delivery {
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

// post sends one attempt and reads the beginning of the answer.
func (g *Server) post(ctx context.Context, url string, d *Delivery) (status int, answer string, err error) {
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

// hookHeader is what GitHub sends besides the body, with both signatures if there is a
// secret.
// https://docs.github.com/en/webhooks/webhook-events-and-payloads
func (g *Server) hookHeader(d *Delivery, secret string) http.Header {
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
func (g *Server) getHookConfig(*exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	body := jsonObject{"content_type": "json", "insecure_ssl": "0", "url": g.cfg.WebhookURL}
	if g.cfg.WebhookSecret != "" {
		body["secret"] = "********"
	}
	return okResponse(body)
}

func deliveryJSON(d *Delivery) jsonObject {
	var action any
	if d.Action != "" {
		action = d.Action
	}
	return jsonObject{
		"id": d.ID, "guid": d.GUID, "delivered_at": d.DeliveredAt, "redelivery": d.Redelivery,
		"duration": d.Duration.Round(10 * time.Millisecond).Seconds(), "status": d.Status, "status_code": d.StatusCode,
		"event": d.Event, "action": action, "installation_id": d.Installation, "repository_id": d.RepositoryID, "throttled_at": nil,
	}
}

// remembered says whether GitHub still knows a delivery. It keeps them for 3 days.
func (g *Server) remembered(d *Delivery) bool {
	return d.DeliveredAt.After(g.cfg.Now().Add(-3 * 24 * time.Hour))
}

func (d *Delivery) succeeded() bool { return d.StatusCode >= 200 && d.StatusCode <= 299 }

// listDeliveries is GET /app/hook/deliveries, newest first, paged by cursor.
func (g *Server) listDeliveries(x *exchange) response {
	query := x.URL.Query()
	size := queryNumber(query.Get("per_page"), 30, 100)
	cursor := int64(1) << 62
	if text := query.Get("cursor"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor")
		}
		cursor = n
	}
	wanted := query.Get("status")
	g.mu.Lock()
	defer g.mu.Unlock()
	items, header := []jsonObject{}, http.Header{}
	for _, d := range slices.Backward(g.deliveries) {
		if d.ID > cursor || !g.remembered(d) || wanted == "success" && !d.succeeded() || wanted == "failure" && d.succeeded() {
			continue
		}
		if len(items) == size {
			header.Set("Link", x.link("next", "cursor", strconv.FormatInt(d.ID, 10)))
			break
		}
		items = append(items, deliveryJSON(d))
	}
	return response{status: http.StatusOK, header: header, body: items}
}

// findDelivery copies a delivery that GitHub still knows, or returns nil.
func (g *Server) findDelivery(id int64) *Delivery {
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

// redeliver is POST /app/hook/deliveries/{delivery}/attempts: the new attempt
// has the old guid.
func (g *Server) redeliver(x *exchange) response {
	d := g.findDelivery(x.id("delivery"))
	if d == nil {
		return notFound()
	}
	d.Redelivery = true
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.hooks.Go(func() { g.attempt(context.Background(), d) })
	}
	return response{status: http.StatusAccepted, body: jsonObject{}}
}

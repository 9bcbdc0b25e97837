// Package webhook receives GitHub's webhook deliveries. A delivery leaves this package
// only if it is authentic, decoded and stored.
//
// The handler does no work of its own, because GitHub waits only ten seconds. It verifies
// a delivery, passes it on to be stored, and answers. Parse decodes the body of a stored
// delivery into an event.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-github/v60/github"
	"github.com/labstack/echo/v4"
)

const (
	// MaxBody is the largest delivery in bytes. GitHub sends none that is larger: it
	// drops such an event silently.
	// https://docs.github.com/en/webhooks/webhook-events-and-payloads
	MaxBody = 25 << 20

	// patience is how long GitHub waits for an answer on github.com. A later answer
	// counts as a failed delivery, and GitHub does not try again by itself.
	// https://docs.github.com/webhooks/using-webhooks/best-practices-for-using-webhooks
	patience = 10 * time.Second

	// storeTime is the part of patience that Store may take, so that a failure of Store
	// can still be answered in time.
	storeTime = 5 * time.Second

	// maxHeader is the most bytes of the event's name and of the delivery's id.
	maxHeader = 255
)

// Delivery is one authentic delivery of an event that purgebot uses.
type Delivery struct {
	GUID         string // X-GitHub-Delivery: the same in every attempt, so it finds repeated deliveries
	Event        string // X-GitHub-Event
	Installation int64  // 0: GitHub names none
	RepositoryID int64  // 0 for events of a whole installation
	Repository   string // owner/name when it was sent; "" for events of a whole installation
	Person       int64  // id of the person who asks, by a comment or a button; 0 for all other events
	Body         []byte // a JSON object in valid UTF-8, even if it came form-encoded; Parse takes it
	ReceivedAt   time.Time
}

// Config configures the handler. Secrets and Store are required.
type Config struct {
	// Secrets are the valid webhook secrets. A delivery that is signed with any of them
	// is authentic. Two of them allow a change of the secret without losing a delivery.
	Secrets []string

	// Store makes a delivery durable before it returns, and tells whether the GUID is
	// new. It may wait for the database but for nothing else on the network. It may be
	// called concurrently.
	//
	// Its context ends after five seconds, not when GitHub hangs up. The answer is 503
	// then, even if Store has not returned. If Store still stores the delivery later, its
	// GUID is known when GitHub delivers it again.
	Store func(context.Context, Delivery) (isNew bool, err error)

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: no log
}

// New returns the handler of POST /webhook. It is an error to have no secret or an empty
// one, because everybody could sign with that.
//
// The first answer of these that fits is given:
//
//   - 413: the body is longer than MaxBody
//   - 401: there is no good X-Hub-Signature-256; if the header has no such form, nothing of the
//     body is read
//   - 503 with Retry-After: too many bytes of unverified bodies are in memory
//   - 415: the body is neither JSON nor form-encoded
//   - 400: the body or a header cannot be read
//   - 200: a ping, an event that purgebot does not use, or a known GUID
//   - 202: Store has the delivery
//   - 503: Store failed
func New(cfg Config) (echo.HandlerFunc, error) {
	if len(cfg.Secrets) == 0 {
		return nil, errors.New("no webhook secret: without one, anybody's request would count as GitHub's")
	}
	r := &receiver{rooms: newRooms(), store: cfg.Store, now: cfg.Now, log: cfg.Log}
	for i, s := range cfg.Secrets {
		if s == "" {
			return nil, fmt.Errorf("webhook secret %d of %d is empty: anybody's request would count as GitHub's", i+1, len(cfg.Secrets))
		}
		r.secrets = append(r.secrets, []byte(s))
	}
	if r.store == nil {
		return nil, errors.New("no store for webhook deliveries")
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r.serve, nil
}

// receiver is the handler. It does not change once it is made, except for rooms, which
// has its own locks.
type receiver struct {
	secrets [][]byte
	rooms   *rooms
	store   func(context.Context, Delivery) (bool, error)
	now     func() time.Time
	log     *slog.Logger
}

// An answer is shown by GitHub on the App's page of recent deliveries. The message must
// hold no secret.
type answer struct {
	code    int
	message string
	err     error // only for the log
	early   bool  // the body was not read to its end, so the connection cannot be used again
}

// serve answers one delivery and logs it. A failure is a warning: GitHub shows the answer
// on the App's page, and recovery asks for the delivery again.
func (r *receiver) serve(c echo.Context) error {
	req := c.Request()
	a := r.receive(c)
	level := slog.LevelInfo
	if a.code >= 400 { // not an error: an outage of the store would log one with every delivery
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.Int("status", a.code),
		slog.String("event", clip(req.Header.Get(github.EventTypeHeader))),
		slog.String("delivery", clip(req.Header.Get(github.DeliveryIDHeader))),
		slog.String("answer", a.message),
	}
	if a.err != nil {
		attrs = append(attrs, slog.Any("err", a.err))
	}
	r.log.LogAttrs(req.Context(), level, "webhook delivery", attrs...)
	return a.write(c)
}

// write answers. Some clients read nothing before they have written everything, and would
// never see an early answer. So what such a client still sends is read and thrown away,
// within the time and size that any body may have. A client that sent Expect has asked
// first and will not send the body.
func (a answer) write(c echo.Context) error {
	header := c.Response().Header()
	if a.early {
		header.Set("Connection", "close")
	}
	if a.code == http.StatusServiceUnavailable {
		header.Set("Retry-After", "10")
	}
	text, err := json.Marshal(struct {
		Message string `json:"message"`
	}{a.message})
	if err != nil {
		return err
	}
	header.Set(echo.HeaderContentLength, strconv.Itoa(len(text))) // so that the answer is complete before the rest is read
	err = c.JSONBlob(a.code, text)
	if !a.early || err != nil || c.Request().Header.Get("Expect") != "" {
		return err
	}
	conn := http.NewResponseController(c.Response())
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // not every ResponseWriter supports deadlines
	if conn.Flush() == nil {
		_, _ = io.CopyN(io.Discard, c.Request().Body, MaxBody)
	}
	return nil
}

// receive decides the answer. The order of its steps is promised in the documentation of
// [New]. No part of a body is used before its signature is verified.
func (r *receiver) receive(c echo.Context) answer {
	received := r.now()
	req := c.Request()
	signature, refusal := unsigned(req)
	if refusal != nil {
		return *refusal
	}
	raw, refusal := r.authentic(c, signature)
	if refusal != nil {
		return *refusal
	}
	body, refusal := payload(req.Header.Get(echo.HeaderContentType), raw)
	if refusal != nil {
		return *refusal
	}
	d := Delivery{
		GUID:       req.Header.Get(github.DeliveryIDHeader),
		Event:      req.Header.Get(github.EventTypeHeader),
		Body:       body,
		ReceivedAt: received,
	}
	for _, h := range []struct{ name, value string }{
		{github.EventTypeHeader, d.Event}, {github.DeliveryIDHeader, d.GUID},
	} {
		if !token(h.value) {
			return answer{code: http.StatusBadRequest, message: "the header " + h.name + " is missing or malformed"}
		}
	}
	event, err := Parse(d.Event, body)
	if err != nil {
		return answer{code: http.StatusBadRequest, message: err.Error()}
	}
	switch e := event.(type) {
	case *Ping:
		return answer{code: http.StatusOK, message: "pong"}
	case *Ignored:
		return answer{code: http.StatusOK, message: "purgebot has no use for " + strings.TrimSpace(e.Event+" "+e.Action)}
	}
	from := event.Source()
	d.Installation, d.RepositoryID, d.Repository = from.Installation, from.Repository.ID, from.Repository.FullName()
	switch e := event.(type) {
	case *IssueComment, *CheckSuite:
		d.Person = from.Sender.ID
	case *CheckRun:
		if e.Action != "completed" { // an App completes a run; a person asks for the other actions
			d.Person = from.Sender.ID
		}
	}
	return r.keep(req.Context(), d)
}

// keep stores d. It goes on even if GitHub hangs up: a stored delivery need not be sent
// again.
func (r *receiver) keep(ctx context.Context, d Delivery) answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	isNew, err := r.stored(ctx, d)
	switch {
	case err != nil:
		return answer{
			code:    http.StatusServiceUnavailable,
			message: "the delivery could not be stored; it will be asked for again",
			err:     fmt.Errorf("store delivery %s: %w", d.GUID, err),
		}
	case !isNew:
		return answer{code: http.StatusOK, message: "delivery " + d.GUID + " is known already"}
	default:
		return answer{code: http.StatusAccepted, message: "delivery " + d.GUID + " accepted"}
	}
}

// stored waits for Store only as long as ctx allows. A disk that hangs does not obey a
// context. The channel has room for the result, so the goroutine always ends with Store.
func (r *receiver) stored(ctx context.Context, d Delivery) (isNew bool, err error) {
	type result struct {
		isNew bool
		err   error
	}
	done := make(chan result, 1)
	go func() {
		isNew, err := r.store(ctx, d)
		done <- result{isNew, err}
	}()
	select {
	case r := <-done:
		return r.isNew, r.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// payload takes the JSON out of the raw body, in valid UTF-8. Invalid bytes become
// U+FFFD, as encoding/json reads them, so that any database can hold the text. The raw
// body is what was signed, so this must come after the signature.
func payload(contentType string, raw []byte) ([]byte, *answer) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		kind = ""
	}
	body := raw
	switch kind {
	case echo.MIMEApplicationJSON:
	case echo.MIMEApplicationForm:
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return nil, &answer{code: http.StatusBadRequest, message: "the form can't be read: " + err.Error()}
		}
		if !form.Has("payload") {
			return nil, &answer{code: http.StatusBadRequest, message: "the form has no field payload"}
		}
		body = []byte(form.Get("payload"))
	default:
		return nil, &answer{
			code:    http.StatusUnsupportedMediaType,
			message: "the content type must be " + echo.MIMEApplicationJSON + " or " + echo.MIMEApplicationForm,
		}
	}
	if utf8.Valid(body) {
		return body, nil
	}
	return bytes.ToValidUTF8(body, []byte("\uFFFD")), nil
}

// token tells whether a header's value is present and plain: printable ASCII without
// spaces, of at most maxHeader bytes.
func token(s string) bool {
	return s != "" && len(s) <= maxHeader && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// clip bounds a header for the log: it comes from anybody, and its signature may be
// wrong.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxHeader)], "\uFFFD")
}

// Package webhook takes GitHub's webhook deliveries in: what leaves it is
// authentic, decoded and stored, or it does not leave.
//
// The handler does no work of its own (GitHub waits ten seconds): it verifies,
// hands the delivery to be stored, and answers. Parse decodes a stored
// delivery's body into an event.
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
	// MaxBody is the largest delivery in bytes; GitHub sends none that is
	// larger.
	MaxBody = 25 << 20

	// patience is how long GitHub waits for an answer on github.com.
	// https://docs.github.com/webhooks/using-webhooks/best-practices-for-using-webhooks
	patience = 10 * time.Second

	// storeTime is what Store may take of that at most, so that its failure
	// can still be answered.
	storeTime = 5 * time.Second

	// maxHeader bounds the event's name and the delivery's id.
	maxHeader = 255
)

// Delivery is one authentic delivery of an event that purgebot uses.
type Delivery struct {
	GUID         string // X-GitHub-Delivery: the same in every attempt at one delivery
	Event        string // X-GitHub-Event
	Installation int64  // 0 where GitHub names none
	RepositoryID int64  // 0 for events of a whole installation
	Repository   string // owner/name at that time, "" likewise
	Person       int64  // who asks for something, by a comment or a button; 0 for all other events
	Body         []byte // the JSON object in valid UTF-8, also when it came form-encoded; Parse takes it
	ReceivedAt   time.Time
}

// Config is what the handler needs.
type Config struct {
	// Secrets are the webhook secrets that count now: a delivery signed with
	// any of them is authentic. Two make a rotation without a gap.
	Secrets []string

	// Store makes a delivery durable before it returns, and tells whether the
	// GUID is new. It must not wait for the network beyond the database. Its
	// context ends after five seconds, not when GitHub hangs up; then the
	// answer is 503 even if Store does not return. What it stores later is
	// known when GitHub delivers it again.
	Store func(context.Context, Delivery) (isNew bool, err error)

	Now func() time.Time // default: time.Now
	Log *slog.Logger     // default: none
}

// New returns the handler of POST /webhook. It is an error to have no secret
// or an empty one: everybody could sign with that.
//
// Answers, the first that fits: 413 for more than MaxBody bytes, 401 without
// a good X-Hub-Signature-256 (and nothing of the body is read where the header
// is no such signature), 503 with Retry-After where too many bytes of other
// bodies are in memory that are not verified yet, 415 neither JSON nor form-encoded, 400 for what
// can't be read, 200 for a ping, an event without use or a known GUID, 202
// once Store has it, 503 where Store fails.
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

type receiver struct {
	secrets [][]byte
	rooms   *rooms
	store   func(context.Context, Delivery) (bool, error)
	now     func() time.Time
	log     *slog.Logger
}

// An answer is what GitHub's page of recent deliveries shows.
type answer struct {
	code    int
	message string
	err     error // for the log alone
	early   bool  // the body is not read to its end: no other request follows on the connection
}

// serve answers one delivery and logs it. Whatever went wrong is a warning: GitHub
// shows the answer on the App's page, and recovery asks for the delivery again.
func (r *receiver) serve(c echo.Context) error {
	req := c.Request()
	a := r.receive(c)
	level := slog.LevelInfo
	if a.code >= 400 { // never an error: an outage of the store would be one with every delivery
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

// write answers. A client that reads nothing before it has written everything
// would never see an answer that comes early: what it still sends is taken
// and thrown away, within the time and the size that any body may have. Not
// where it asked first: it will not send.
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
	header.Set(echo.HeaderContentLength, strconv.Itoa(len(text))) // so that the answer has its end before this returns
	err = c.JSONBlob(a.code, text)
	if !a.early || err != nil || c.Request().Header.Get("Expect") != "" {
		return err
	}
	conn := http.NewResponseController(c.Response())
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // there is none where the server has its own
	if conn.Flush() == nil {
		_, _ = io.CopyN(io.Discard, c.Request().Body, MaxBody)
	}
	return nil
}

// receive decides the answer; the order of its steps is promised.
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
		if e.Action != "completed" { // which an App does, for everybody
			d.Person = from.Sender.ID
		}
	}
	return r.keep(req.Context(), d)
}

// keep stores d. A hang-up of GitHub's does not stop it: what is stored need
// not be delivered again.
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

// stored waits for Store as long as ctx allows, and no longer: a disk that
// hangs heeds no context.
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

// payload takes the JSON out of the raw body, in valid UTF-8: bytes that are
// not become U+FFFD, as encoding/json reads them, so that any database can
// hold the text.
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

// token tells whether a header's value is there and plain: printable ASCII
// without spaces, of a sane length.
func token(s string) bool {
	return s != "" && len(s) <= maxHeader && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxHeader)], "\uFFFD")
}

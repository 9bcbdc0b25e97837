package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/web"
)

// askFlags are the flags of the commands that ask a running server.
type askFlags struct {
	Server string `help:"The running server (default: http:// and the configuration's listen). Beyond loopback it must be https." placeholder:"URL"`
	JSON   bool   `name:"json" help:"Print the answer as JSON."`
}

// askTime bounds one question, including the time that the server needs for its answer.
// It is longer than the server's own limit of 30 s (apiTime in internal/web), so that the
// server's error arrives instead of a client timeout.
const askTime = 40 * time.Second

// operator is a client of a running server. It authenticates with tokens that it derives
// from the webhook secrets of the configuration, see [web.OperatorToken].
type operator struct {
	server *url.URL
	tokens []string // one per webhook secret, in the order of the configuration
	http   *http.Client
}

// connect finds the server's address and the tokens in the configuration. It sends
// nothing yet. With --server it needs only the webhook secrets, and ignores every other
// fault of the configuration: a machine that does not run the server then needs
// PURGEBOT_GITHUB_WEBHOOK_SECRETS and nothing else.
func (f askFlags) connect(file string, getenv func(string) string) (*operator, error) {
	cfg, faults := config.Load(file, getenv)
	const variable = "PURGEBOT_GITHUB_WEBHOOK_SECRETS"
	if f.Server != "" && cfg.File == "" && getenv(variable) == "" {
		return nil, usage("%s: is not set: with --server it must be the webhook secret of that server", variable)
	}
	if faults != nil && (f.Server == "" || len(cfg.GitHub.WebhookSecrets) == 0) {
		return nil, usage("%w", faults)
	}
	server, err := f.address(cfg.Listen)
	if err != nil {
		return nil, usage("%w", err)
	}
	o := &operator{server: server, http: &http.Client{
		Timeout: askTime,
		// The token is meant for this server only. A redirect could send it to another
		// host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, s := range cfg.GitHub.WebhookSecrets {
		o.tokens = append(o.tokens, web.OperatorToken(s.Reveal()))
	}
	return o, nil
}

// address is the server's base URL. Without --server the server is on this machine, and
// plain HTTP is fine. With --server, plain HTTP is accepted for loopback only, because
// each request carries the token.
func (f askFlags) address(listen string) (*url.URL, error) {
	if f.Server == "" {
		host, err := dialable(listen)
		if err != nil {
			return nil, err
		}
		return &url.URL{Scheme: "http", Host: host}, nil
	}
	u, err := url.Parse(f.Server)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("--server %q is not of the form https://HOST", f.Server)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("--server %s: the operator's token would go in the clear; use https", f.Server)
	}
	return u, nil
}

// dialable returns the address, HOST:PORT, at which a program on this machine reaches a
// server that has the given listen address. A server that listens on all addresses is
// reached on loopback. Port 0 is an error: only the running server knows the port that it
// got.
func dialable(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return "", fmt.Errorf("listen %q is not HOST:PORT", listen)
	case port == "0":
		return "", fmt.Errorf("listen %s is a port that the server finds when it starts: it can't be asked there", listen)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// answerError is a refusal by the server, in the server's own words. Callers look at the
// status, because some refusals mean wrong usage (exit 2).
type answerError struct {
	status int
	words  string
}

func (e *answerError) Error() string { return e.words }

// ask makes one request and decodes the answer into a document. If the server rejects a
// token with 401, ask tries the next one: the server may have started before or after the
// operator changed the secrets. Any other answer ends the loop.
//
// A rejected token (401) or a bad request (400) is wrong usage and exits with 2. Other
// refusals exit with 1.
func (o *operator) ask(ctx context.Context, method, path string, query url.Values, body, into any) error {
	var err error
	for _, token := range o.tokens {
		err = o.try(ctx, token, method, path, query, body, into)
		if a, ok := errors.AsType[*answerError](err); !ok || a.status != http.StatusUnauthorized {
			break
		}
	}
	a, ok := errors.AsType[*answerError](err)
	if ok && (a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest) {
		return usage("%w", err)
	}
	return err
}

// try makes one request with one token. Its errors never contain the token.
func (o *operator) try(ctx context.Context, token, method, path string, query url.Values, body, into any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	to := o.server.JoinPath(path)
	to.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, to.String(), &content)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := o.http.Do(req)
	if err != nil {
		return fmt.Errorf("no server answers at %s: is purgebot serve running? (%w)", o.server, reason(err))
	}
	defer func() { _ = res.Body.Close() }() // it was read; nothing is left to fail
	return o.read(res, into)
}

// maxAnswer is the most bytes of an answer that are read. A longer answer is cut there,
// and then fails as JSON.
const maxAnswer = 64 << 20

// read decodes an answer. If the answer does not come from purgebot, for example a
// proxy's error page, the error says so and leaves the content out: it may be long, and
// it does not explain the fault.
func (o *operator) read(res *http.Response, into any) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", o.server, err)
	}
	if res.StatusCode != http.StatusOK {
		var said web.Problem
		if err := json.Unmarshal(text, &said); err == nil && said.Error != "" {
			return &answerError{res.StatusCode, oneLine(said.Error)}
		}
		return fmt.Errorf("%s answers %d as purgebot does not: what is there is something else, or another version", o.server, res.StatusCode)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s answers as purgebot does not: what is there is something else, or another version (%w)", o.server, err)
	}
	return nil
}

// reason removes the method and the address that an HTTP client adds to its error.
// Callers name the address themselves, or it holds a secret.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// printJSON prints a document as one line of JSON. It does not escape <, > and &, since
// the output is no HTML and URLs stay readable.
func printJSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}

// age is a duration in one unit, rounded down: 12s, 5m, 3h, 4d. It changes to the next
// unit at two of that unit, so that one minute is 60s and one hour is 60m. A negative
// duration, which clocks that differ can give, is 0s.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// cells makes one line of a table for a tabwriter. It makes the columns safe for a
// terminal and writes an empty one as a dash. It changes the slice that it is given.
func cells(columns ...string) string {
	for i, c := range columns {
		if c = oneLine(c); c == "" {
			c = "-"
		}
		columns[i] = c
	}
	return strings.Join(columns, "\t")
}

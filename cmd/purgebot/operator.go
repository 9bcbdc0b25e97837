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

// askFlags are those of the commands that ask a running server.
type askFlags struct {
	Server string `help:"The running server (default: http:// and the configuration's listen). Beyond loopback it must be https." placeholder:"URL"`
	JSON   bool   `name:"json" help:"Print the answer as JSON."`
}

// askTime bounds one question, the server's own thinking included.
const askTime = 40 * time.Second

// operator asks a running server, with the token that its configuration
// gives.
type operator struct {
	server *url.URL
	tokens []string // of each webhook secret; the first that is good counts
	http   *http.Client
}

// connect finds the server and the token in the configuration. With --server
// the webhook secret alone counts of it, so that a machine that does not run
// the server needs no more than PURGEBOT_GITHUB_WEBHOOK_SECRETS.
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
		// The token is for this server, not for where it may point.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, s := range cfg.GitHub.WebhookSecrets {
		o.tokens = append(o.tokens, web.OperatorToken(s.Reveal()))
	}
	return o, nil
}

// address is where the server is.
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

// dialable is the address at which a server on this machine that listens
// there is found: loopback, if it listens on every address.
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

// answerError is a server's refusal.
type answerError struct {
	status int
	words  string
}

func (e *answerError) Error() string { return e.words }

// ask makes one request and reads the answer into a document. Another
// secret's token is tried where the server does not know one: it may have
// been started before or after a secret was changed.
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

// try makes one request with one token. An error never has the token in it.
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

// maxAnswer is how long an answer may be, in bytes.
const maxAnswer = 64 << 20

// read reads an answer. Whatever is not purgebot's, such as the page of a proxy, is
// told as that, and not shown: it may be long, and it is not what is wrong.
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

// reason takes the address out of an HTTP client's error, which names it.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// printJSON prints a document on one line.
func printJSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}

// age is how long something took or is ago, in one unit: 12s, 5m, 3h, 4d.
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

// cells are the columns of one line of a table, fit for a terminal; empty
// ones are a dash.
func cells(columns ...string) string {
	for i, c := range columns {
		if c = oneLine(c); c == "" {
			c = "-"
		}
		columns[i] = c
	}
	return strings.Join(columns, "\t")
}

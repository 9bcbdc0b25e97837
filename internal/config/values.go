package config

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/yaml"
)

// home replaces a leading ~ by HOME, as a shell does.
func (l *loader) home(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		return filepath.Join(l.getenv("HOME"), path[1:])
	}
	return path
}

// path resolves a path relative to the file that it is written in. A path from a variable
// stays relative to the working directory.
func (l *loader) path(at yaml.Place, path string) string {
	path = l.home(path)
	if path == "" || filepath.IsAbs(path) || at.File != l.config.File {
		return path
	}
	return filepath.Join(filepath.Dir(l.home(at.File)), path)
}

// listen takes HOST:PORT; the host may be empty, and the port must be a number.
func (l *loader) listen(n *yaml.Node) {
	text, ok := l.text(n)
	if !ok {
		return
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.fault(n.Place, "listen %q is not HOST:PORT, as in 127.0.0.1:8080 or :8080", text)
		return
	}
	l.config.Listen = text
}

// networks takes addresses, such as 10.0.0.1, and networks, such as 10.0.0.0/8. An
// address is a network of its own length.
func (l *loader) networks(to *[]netip.Prefix) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var texts []string
		l.list(&texts)(n)
		for _, text := range texts {
			p, err := netip.ParsePrefix(text)
			if a, not := netip.ParseAddr(text); not == nil {
				p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
			}
			if err != nil {
				l.fault(n.Place, "%q is no address and no network, as in 10.0.0.1 or 10.0.0.0/8", text)
				continue
			}
			*to = append(*to, p)
		}
	}
}

// origins takes hosts, with or without a port. A wildcard is refused: the server connects
// to these hosts.
func (l *loader) origins(n *yaml.Node) {
	var texts []string
	l.list(&texts)(n)
	for _, text := range texts {
		u, err := url.Parse("https://" + text)
		if err != nil || u.Host != text || u.Hostname() == "" || strings.Contains(text, "*") {
			l.fault(n.Place, "%q is no HOST or HOST:PORT, as in origin.acme.com", text)
			continue
		}
		l.config.Fetch.Origins = append(l.config.Fetch.Origins, strings.ToLower(text))
	}
}

// absolute parses an absolute http or https URL that a path can be added to.
func absolute(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("must be an absolute URL, as in https://purgebot.acme.com")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("must be a URL without user, query and fragment")
	}
	return u, nil
}

// publicURL takes an address without its last slash, since paths are added to it.
func (l *loader) publicURL(n *yaml.Node) {
	text, ok := l.text(n)
	if !ok {
		return
	}
	if _, err := absolute(text); err != nil {
		l.fault(n.Place, "public_url %w", err)
		return
	}
	l.config.PublicURL = strings.TrimRight(text, "/")
}

// private checks the URL of a service that tokens are sent to. Plain http would show them
// on the network, so it is accepted for loopback only.
func private(text string) error {
	u, err := absolute(text)
	if err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		err = errors.New("must be https: http is fine on loopback alone")
	}
	return err
}

func (l *loader) apiURL(n *yaml.Node) {
	text, ok := l.text(n)
	if !ok {
		return
	}
	if err := private(text); err != nil {
		l.fault(n.Place, "github.api_url %w", err)
		return
	}
	l.config.GitHub.APIURL = text
}

// loopback reports whether a host is this machine. It looks no name up.
func loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// baseURL takes the address of an Akamai API; an empty text means Akamai's own.
func (l *loader) baseURL(key string, to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		text, ok := l.text(n)
		if !ok || text == "" {
			return
		}
		if err := private(text); err != nil {
			l.fault(n.Place, "%s %w", key, err)
			return
		}
		*to = text
	}
}

// database takes the address of a database. No fault quotes the text, because a URL may
// hold a password. An SQLite path is resolved like every other path.
func (l *loader) database(n *yaml.Node) {
	text, ok := l.text(n)
	if !ok {
		return
	}
	fault := func(words string) { l.fault(n.Place, "database %s", words) }
	path, sqlite := strings.CutPrefix(text, "sqlite:")
	switch {
	case sqlite && (path == "" || path == "//"):
		fault("lacks a path: sqlite:PATH")
	case sqlite && strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		fault("must be sqlite:PATH, or sqlite:///PATH from the root")
	case sqlite && strings.HasPrefix(path, ":memory:"):
		fault("must be a file: what is in memory alone is lost with the process")
	case sqlite:
		l.config.Database = NewSecret("sqlite:" + l.path(n.Place, strings.TrimPrefix(path, "//")))
	case strings.HasPrefix(text, "postgres://"), strings.HasPrefix(text, "postgresql://"):
		if _, err := url.Parse(text); err != nil {
			fault("is not a URL: %-encode what is special in the password")
			return
		}
		l.config.Database = NewSecret(text)
	default:
		fault("must be sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")
	}
}

// privateKeyFile reads the key from a file. It skips the file if the variable with the
// key itself is set: a file that does not exist is no fault then.
func (l *loader) privateKeyFile(n *yaml.Node) {
	text, ok := l.text(n)
	if !ok || l.getenv("PURGEBOT_GITHUB_PRIVATE_KEY") != "" {
		return // the variable with the key itself takes precedence
	}
	file := l.path(n.Place, text)
	src, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		l.fault(n.Place, "github.private_key_file: %w", err)
		return
	}
	l.config.GitHub.PrivateKeyFile = file
	l.privateKey(n.Place, string(src))
}

// privateKey stores a key after it was checked.
func (l *loader) privateKey(at yaml.Place, text string) {
	text = unpackKey(text)
	if err := checkKey([]byte(text)); err != nil {
		l.fault(at, "the GitHub App's private key %w", err)
		return
	}
	l.config.GitHub.PrivateKey = NewSecret(text)
}

// unpackKey restores the lines of a key. Secret stores and variables hold it on one line,
// with \n for line breaks, indented, in quotes, or in base64.
func unpackKey(text string) string {
	text = strings.Trim(strings.TrimSpace(strings.ReplaceAll(text, `\n`, "\n")), "\"'`")
	if !strings.Contains(text, "-----BEGIN") {
		if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil && bytes.Contains(decoded, []byte("-----BEGIN")) {
			text = string(decoded)
		}
	}
	m := regexp.MustCompile(`(?s)^\s*(-----BEGIN [A-Z0-9 ]+-----)(.*)(-----END [A-Z0-9 ]+-----)\s*$`).FindStringSubmatch(text)
	if m == nil || strings.Contains(m[2], ":") { // it has headers, as an encrypted key does
		return text
	}
	return m[1] + "\n" + strings.Join(strings.Fields(m[2]), "\n") + "\n" + m[3] + "\n"
}

// checkKey says what is wrong with an RSA key in PEM. Its words never quote the key.
// GitHub gives PKCS #1; other tools convert it to PKCS #8.
func checkKey(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("is not the key that GitHub gave: that is a text from -----BEGIN RSA PRIVATE KEY----- to -----END RSA PRIVATE KEY-----, or the base64 of it")
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return errors.New("is encrypted: use it as GitHub gave it")
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("can't be read (%s): copy the whole file that GitHub gave", block.Type)
	}
	if _, ok := key.(*rsa.PrivateKey); !ok {
		return errors.New("is not an RSA key")
	}
	return nil
}

// A webhook secret with fewer bytes than shortSecret can be guessed by trying, because
// each delivery that GitHub sends carries an HMAC of it. One with fewer bytes than
// guessableSecret is refused. One between the two gets a warning: some are in use.
const (
	shortSecret     = 16
	guessableSecret = 8
)

// webhookSecrets takes a list without empty secrets: with an empty one anybody could sign
// a delivery.
func (l *loader) webhookSecrets(n *yaml.Node) {
	var texts []string
	l.list(&texts)(n)
	if n.Kind == yaml.List && len(n.Items) == 0 {
		l.fault(n.Place, "github.webhook_secrets is empty: without a secret anybody's request would count as GitHub's")
	}
	for i, text := range texts {
		switch {
		case text == "":
			l.fault(n.Place, "webhook secret %d of %d is empty: anybody's request would count as GitHub's", i+1, len(texts))
			continue
		case len(text) < guessableSecret:
			l.fault(n.Place, "webhook secret %d of %d has fewer than %d bytes: make one with openssl rand -hex 32", i+1, len(texts), shortSecret)
			continue
		case len(text) < shortSecret:
			l.warn(n.Place, "webhook secret %d of %d has fewer than %d bytes and can be guessed: make a new one with openssl rand -hex 32", i+1, len(texts), shortSecret)
		}
		l.config.GitHub.WebhookSecrets = append(l.config.GitHub.WebhookSecrets, NewSecret(text))
	}
}

// duration takes what Go takes, with days in front: 30d, 1d12h. It must be above 0.
func (l *loader) duration(to *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		text, ok := l.text(n)
		if !ok {
			return
		}
		d, err := parseDuration(text)
		if err != nil || d <= 0 {
			l.fault(n.Place, "%q is not a time above 0, as in 30d or 12h", text)
			return
		}
		*to = d
	}
}

// parseDuration bounds the days to 36,500, about a century, so that the product does not
// overflow.
func parseDuration(text string) (time.Duration, error) {
	const day, longest = 24 * time.Hour, 36_500
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > longest {
		return 0, errors.New("not a number of days")
	}
	d := time.Duration(n) * day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	return d + more, err
}

// defaults sets what is written nowhere. It runs after apply, so it sees the final
// listen.
func (l *loader) defaults() {
	c := &l.config
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8080"
	}
	if c.PublicURL == "" {
		c.PublicURL = localURL(c.Listen)
	}
	if c.Database.IsZero() {
		c.Database = NewSecret("sqlite:" + l.path(yaml.Place{File: c.File}, "purgebot.db"))
	}
	if c.GitHub.APIURL == "" {
		c.GitHub.APIURL = "https://api.github.com"
	}
	if c.Retention.Deliveries == 0 {
		c.Retention.Deliveries = 30 * 24 * time.Hour
	}
	if c.Retention.Purges == 0 {
		c.Retention.Purges = 400 * 24 * time.Hour
	}
}

// demandAll reports required keys that are missing. If the file can't be read it reports
// none: the file may have them.
func (l *loader) demandAll() {
	if l.broken {
		return
	}
	l.demand("github.app_id", "the App's id, from its settings page")
	if _, ok := l.place["github.private_key"]; !ok {
		l.demand("github.private_key_file", "the App's private key in PEM; PURGEBOT_GITHUB_PRIVATE_KEY may hold the key itself")
	}
	l.demand("github.webhook_secrets", "the secret of the App's webhook: without one anybody's request would count as GitHub's")
}

// localURL is where a browser on this machine finds a server with that listen address.
func localURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip, ipErr := netip.ParseAddr(host); err == nil && (host == "" || ipErr == nil && ip.IsUnspecified()) {
		return "http://localhost:" + port
	}
	return "http://" + listen
}

// demand reports a required key that is set nowhere. A key whose value is faulty is set.
func (l *loader) demand(key, what string) {
	if _, ok := l.place[key]; ok {
		return
	}
	variable := l.variableOf(key)
	if l.config.File == "" {
		l.fault(yaml.Place{File: variable}, "is not set: %s", what)
		return
	}
	l.fault(yaml.Place{File: l.config.File, Line: 1}, "%s is missing: %s (or set %s)", key, what, variable)
}

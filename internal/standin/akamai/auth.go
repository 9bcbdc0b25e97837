package akamai

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

const (
	// maxBody is how much of a POST body EdgeGrid hashes, in bytes. A client with another
	// max_body sends signatures that do not match.
	maxBody = 131072
	// clockTolerance is how far a request's timestamp may be from the gateway's clock.
	clockTolerance = 30 * time.Second
	// nonceMemory is how long a nonce counts as used: as long as its timestamp could be
	// valid.
	nonceMemory = 2 * clockTolerance

	timestampLayout = "20060102T15:04:05-0700"
	authScheme      = "EG1-HMAC-SHA256"
)

// signature is a parsed Authorization header.
type signature struct {
	clientToken, accessToken, timestamp, nonce, signature string

	// unsigned is the header up to the signature. It is itself the last field of the
	// signed data.
	unsigned string
}

// parseSignature parses the header. EdgeGrid has the five fields in one fixed order.
func parseSignature(header string) (signature, bool) {
	var s signature
	rest, ok := strings.CutPrefix(header, authScheme+" ")
	if !ok {
		return s, false
	}
	for _, field := range []struct {
		name string
		into *string
	}{
		{"client_token", &s.clientToken},
		{"access_token", &s.accessToken},
		{"timestamp", &s.timestamp},
		{"nonce", &s.nonce},
	} {
		value, after, found := strings.Cut(rest, ";")
		value, named := strings.CutPrefix(value, field.name+"=")
		if !found || !named || value == "" {
			return s, false
		}
		*field.into, rest = value, after
	}
	s.signature, ok = strings.CutPrefix(rest, "signature=")
	s.unsigned = strings.TrimSuffix(header, rest)
	return s, ok && s.signature != ""
}

// signatureOf computes the signature of a request: HMAC-SHA256 over its parts, with a key
// that is itself the HMAC of the timestamp. No headers are signed (headers_to_sign is
// empty for purges).
func signatureOf(secret string, s signature, method, scheme, host, pathQuery string, body []byte) string {
	hash := ""
	if method == http.MethodPost && len(body) > 0 {
		sum := sha256.Sum256(body[:min(len(body), maxBody)])
		hash = base64.StdEncoding.EncodeToString(sum[:])
	}
	key := hmacSHA256(s.timestamp, secret)
	return hmacSHA256(strings.Join([]string{method, scheme, host, pathQuery, "", hash, s.unsigned}, "\t"), key)
}

func hmacSHA256(message, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// authenticate checks who calls. If ok is false, the answer says what is wrong. The clock
// and the tokens come before the signature, as with Akamai: a wrong clock is a 400, not a
// 401.
func (a *Server) authenticate(c call) (refusal answer, ok bool) {
	header := c.Header.Get("Authorization")
	if strings.HasPrefix(c.URL.Path, "/ccu/v2/") && a.cfg.BasicUser != "" {
		if user, password, basic := c.BasicAuth(); basic {
			return a.authenticateBasic(user, password)
		}
	}
	s, ok := parseSignature(header)
	if !ok {
		return badRequest(c, "Invalid authorization header"), false
	}
	at, err := time.Parse(timestampLayout, s.timestamp)
	if err != nil || !strings.HasSuffix(s.timestamp, "+0000") || c.now.Sub(at).Abs() > clockTolerance {
		return badRequest(c, "Invalid timestamp"), false
	}
	creds := a.Credentials()
	if !equal(s.clientToken, creds.ClientToken) {
		return badRequest(c, "Invalid client token"), false
	}
	if !equal(s.accessToken, creds.AccessToken) {
		return badRequest(c, "Invalid access token"), false
	}
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	want := signatureOf(creds.ClientSecret, s, c.Method, scheme, c.Host, c.RequestURI, c.body)
	if !equal(s.signature, want) {
		return unauthorized(c, "The signature does not match"), false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.nonces.use(s.nonce, c.now) {
		return badRequest(c, "Invalid nonce"), false
	}
	return answer{}, true
}

// authenticateBasic is only for CCU v2. Akamai answered a wrong password with a page, not
// with JSON.
func (a *Server) authenticateBasic(user, password string) (refusal answer, ok bool) {
	if equal(user, a.cfg.BasicUser) && equal(password, a.cfg.BasicPassword) {
		return answer{}, true
	}
	return answer{
		status:  http.StatusUnauthorized,
		header:  map[string]string{"WWW-Authenticate": `Basic realm="Luna Control Center"`},
		media:   "text/html;charset=utf-8",
		body:    "<html><body><h1>401 Unauthorized</h1></body></html>",
		refusal: "401 Unauthorized",
	}, false
}

func equal(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// nonceLog remembers nonces for as long as somebody could replay them.
type nonceLog struct {
	until  map[string]time.Time
	pruned time.Time
}

// use reports whether the nonce is new, and marks it as used.
func (n *nonceLog) use(nonce string, now time.Time) bool {
	if until, ok := n.until[nonce]; ok && now.Before(until) {
		return false
	}
	if now.Sub(n.pruned).Abs() > nonceMemory {
		for old, until := range n.until {
			if !now.Before(until) {
				delete(n.until, old)
			}
		}
		n.pruned = now
	}
	n.until[nonce] = now.Add(nonceMemory)
	return true
}

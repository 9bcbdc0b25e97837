package standin

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
	// akamaiMaxBody is how much of a POST body EdgeGrid hashes, in bytes. A
	// client whose max_body differs sends signatures that don't match.
	akamaiMaxBody = 131072
	// akamaiClockTolerance is how far a request's timestamp may be from the
	// gateway's clock.
	akamaiClockTolerance = 30 * time.Second
	// akamaiNonceMemory is how long a nonce counts as used: the whole span in
	// which its timestamp could be valid.
	akamaiNonceMemory = 2 * akamaiClockTolerance

	akamaiTimestamp = "20060102T15:04:05-0700"
	akamaiScheme    = "EG1-HMAC-SHA256"
)

// akamaiSignature is an Authorization header taken apart.
type akamaiSignature struct {
	clientToken, accessToken, timestamp, nonce, signature string

	// unsigned is the header up to the signature: the last field of what is
	// signed.
	unsigned string
}

// parseAkamaiSignature takes the header apart. EdgeGrid has the five fields
// in one fixed order.
func parseAkamaiSignature(header string) (akamaiSignature, bool) {
	var s akamaiSignature
	rest, ok := strings.CutPrefix(header, akamaiScheme+" ")
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

// akamaiSign computes the signature of a request: HMAC-SHA256 over its parts
// with a key that is itself the HMAC of the timestamp. No headers are signed
// (headers_to_sign is empty for purges).
func akamaiSign(secret string, s akamaiSignature, method, scheme, host, pathQuery string, body []byte) string {
	hash := ""
	if method == http.MethodPost && len(body) > 0 {
		sum := sha256.Sum256(body[:min(len(body), akamaiMaxBody)])
		hash = base64.StdEncoding.EncodeToString(sum[:])
	}
	key := akamaiHMAC(s.timestamp, secret)
	return akamaiHMAC(strings.Join([]string{method, scheme, host, pathQuery, "", hash, s.unsigned}, "\t"), key)
}

func akamaiHMAC(message, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// authenticate checks who is calling; if not ok, the answer says what is
// wrong. The clock and the tokens come before the signature, as with Akamai:
// a wrong clock is a 400, not a 401.
func (a *Akamai) authenticate(c akamaiCall) (refusal akamaiAnswer, ok bool) {
	header := c.Header.Get("Authorization")
	if strings.HasPrefix(c.URL.Path, "/ccu/v2/") && a.cfg.BasicUser != "" {
		if user, password, basic := c.BasicAuth(); basic {
			return a.authenticateBasic(user, password)
		}
	}
	s, ok := parseAkamaiSignature(header)
	if !ok {
		return akamaiBadRequest(c, "Invalid authorization header"), false
	}
	at, err := time.Parse(akamaiTimestamp, s.timestamp)
	if err != nil || !strings.HasSuffix(s.timestamp, "+0000") || c.now.Sub(at).Abs() > akamaiClockTolerance {
		return akamaiBadRequest(c, "Invalid timestamp"), false
	}
	creds := a.Credentials()
	if !akamaiSame(s.clientToken, creds.ClientToken) {
		return akamaiBadRequest(c, "Invalid client token"), false
	}
	if !akamaiSame(s.accessToken, creds.AccessToken) {
		return akamaiBadRequest(c, "Invalid access token"), false
	}
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	want := akamaiSign(creds.ClientSecret, s, c.Method, scheme, c.Host, c.RequestURI, c.body)
	if !akamaiSame(s.signature, want) {
		return akamaiUnauthorized(c, "The signature does not match"), false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.nonces.use(s.nonce, c.now) {
		return akamaiBadRequest(c, "Invalid nonce"), false
	}
	return akamaiAnswer{}, true
}

// authenticateBasic is for CCU v2 alone. A wrong password was answered with a
// page, not with JSON.
func (a *Akamai) authenticateBasic(user, password string) (refusal akamaiAnswer, ok bool) {
	if akamaiSame(user, a.cfg.BasicUser) && akamaiSame(password, a.cfg.BasicPassword) {
		return akamaiAnswer{}, true
	}
	return akamaiAnswer{
		status:  http.StatusUnauthorized,
		header:  map[string]string{"WWW-Authenticate": `Basic realm="Luna Control Center"`},
		media:   "text/html;charset=utf-8",
		body:    "<html><body><h1>401 Unauthorized</h1></body></html>",
		refusal: "401 Unauthorized",
	}, false
}

func akamaiSame(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// akamaiNonces remembers nonces for as long as they could be replayed.
type akamaiNonces struct {
	until  map[string]time.Time
	pruned time.Time
}

// use reports whether the nonce is fresh, and spends it.
func (n *akamaiNonces) use(nonce string, now time.Time) bool {
	if until, ok := n.until[nonce]; ok && now.Before(until) {
		return false
	}
	if now.Sub(n.pruned).Abs() > akamaiNonceMemory {
		for old, until := range n.until {
			if !now.Before(until) {
				delete(n.until, old)
			}
		}
		n.pruned = now
	}
	n.until[nonce] = now.Add(akamaiNonceMemory)
	return true
}

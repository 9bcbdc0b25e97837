package github

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appInstallation is the App's installation on one account. Server.mu guards it.
type appInstallation struct {
	id          int64
	account     string
	createdAt   time.Time
	suspendedAt time.Time
	deleted     bool

	permissions map[string]string // the ones that the account's owner accepted
	events      []string
}

// install makes an installation whose owner accepts what the App asks for at that time.
// The caller holds g.mu.
func (g *Server) install(id int64, account string) {
	g.installations[id] = &appInstallation{id: id, account: account, createdAt: g.now(), permissions: g.cfg.Permissions, events: g.cfg.Events}
}

// installationToken is an installation token. It never changes.
type installationToken struct {
	installation *appInstallation
	expiresAt    time.Time
	permissions  map[string]string
	repositories []int64 // nil: all of the installation's
}

func (t *installationToken) covers(r *repository) bool {
	return r.Installation == t.installation.id && (t.repositories == nil || slices.Contains(t.repositories, r.ID))
}

// allows says whether at least one of the permissions in access is granted.
func allows(granted map[string]string, access string) bool {
	for need := range strings.SplitSeq(access, "|") {
		name, level, _ := strings.Cut(need, ":")
		have := granted[name]
		if name == "metadata" || have == "admin" || have == "write" || have == level && have != "" {
			return true
		}
	}
	return false
}

// authenticate checks the JWT or the token that the route requires.
func (g *Server) authenticate(x *exchange, route *endpoint) (response, bool) {
	scheme, credential, _ := strings.Cut(x.Header.Get("Authorization"), " ")
	bearer := strings.EqualFold(scheme, "bearer")
	if credential == "" || !bearer && !strings.EqualFold(scheme, "token") {
		if route.access == "app" {
			return refuse(http.StatusUnauthorized, "A JSON web token could not be decoded"), false
		}
		return refuse(http.StatusUnauthorized, "Requires authentication"), false
	}
	if route.access == "app" {
		if !bearer {
			return refuse(http.StatusUnauthorized, "A JSON web token could not be decoded"), false
		}
		if fault := g.checkJWT(credential); fault != "" {
			return refuse(http.StatusUnauthorized, fault), false
		}
		return response{}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	token := g.tokens[credential]
	if token == nil || !g.cfg.Now().Before(token.expiresAt) || token.installation.deleted {
		return refuse(http.StatusUnauthorized, "Bad credentials"), false
	}
	if !token.installation.suspendedAt.IsZero() {
		return refuse(http.StatusForbidden, "This installation has been suspended"), false
	}
	x.token = token
	return response{}, true
}

func (g *Server) authorise(x *exchange, route *endpoint) (response, bool) {
	if x.token == nil || route.access == "token" || allows(x.token.permissions, route.access) {
		return response{}, true
	}
	reply := refuse(http.StatusForbidden, "Resource not accessible by integration")
	reply.header = http.Header{"X-Accepted-Github-Permissions": {strings.ReplaceAll(strings.ReplaceAll(route.access, ":", "="), "|", "; ")}}
	return reply, false
}

// checkJWT returns GitHub's words for a fault in an App's JWT, or "".
func (g *Server) checkJWT(jwt string) string {
	const undecodable = "A JSON web token could not be decoded"
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return undecodable
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		Issuer    any          `json:"iss"`
		IssuedAt  *json.Number `json:"iat"`
		ExpiresAt *json.Number `json:"exp"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) || header.Algorithm != "RS256" {
		return undecodable
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(g.cfg.AppKey, crypto.SHA256, sum[:], signature) != nil {
		return undecodable
	}
	if issuer := fmt.Sprint(claims.Issuer); issuer != strconv.FormatInt(g.cfg.AppID, 10) {
		return "Integration must generate a public key"
	}
	issued, okIssued := unixTime(claims.IssuedAt)
	expires, okExpires := unixTime(claims.ExpiresAt)
	now := g.cfg.Now()
	switch {
	case !okExpires || !expires.After(now):
		return "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case expires.After(now.Add(10 * time.Minute)):
		return "'Expiration time' claim ('exp') is too far in the future"
	case !okIssued || issued.After(now):
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	}
	return ""
}

func decodePart(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return false
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	return decoder.Decode(into) == nil
}

// unixTime reads a time claim. GitHub accepts only integers there.
func unixTime(n *json.Number) (time.Time, bool) {
	if n == nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(n.String(), 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// createToken is POST /app/installations/{installation}/access_tokens.
func (g *Server) createToken(x *exchange) response {
	var wish struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	installation := g.installations[x.id("installation")]
	if installation == nil || installation.deleted {
		return notFound()
	}
	if !installation.suspendedAt.IsZero() {
		return refuse(http.StatusForbidden, "This installation has been suspended")
	}
	token := &installationToken{installation: installation, expiresAt: g.now().Add(time.Hour), permissions: installation.permissions}
	for name, level := range wish.Permissions {
		if !allows(installation.permissions, name+":"+level) {
			return refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
		token.permissions = wish.Permissions
	}
	if len(wish.Repositories)+len(wish.RepositoryIDs) > 0 {
		if token.repositories = g.narrow(installation.id, wish.Repositories, wish.RepositoryIDs); token.repositories == nil {
			return refuse(http.StatusUnprocessableEntity,
				"There is at least one repository that does not exist or is not accessible to the parent installation.")
		}
	}
	secret := g.newToken()
	g.tokens[secret] = token
	selection := "all"
	if token.repositories != nil {
		selection = "selected"
	}
	return response{status: http.StatusCreated, body: jsonObject{
		"token": secret, "expires_at": token.expiresAt, "permissions": token.permissions, "repository_selection": selection,
	}}
}

// narrow gives the ids of the wanted repositories, or nil if one of them is not there.
// The caller holds g.mu.
func (g *Server) narrow(installation int64, names []string, ids []int64) []int64 {
	var found []int64
	for _, r := range g.repos {
		wanted := slices.Contains(ids, r.ID) || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, r.Name) })
		if wanted && !r.deleted && r.Installation == installation {
			found = append(found, r.ID)
		}
	}
	if len(found) != len(names)+len(ids) {
		return nil
	}
	return found
}

// newToken has the form of GitHub's tokens since April 2026: long, of variable length,
// with dots. Clients must treat a token as opaque.
func (g *Server) newToken() string {
	random := make([]byte, 360)
	_, _ = rand.Read(random) // documented never to fail
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf("ghs_%d_%s.%s.%s", g.cfg.AppID, encode([]byte(`{"alg":"RS256","typ":"JWT"}`)), encode(random[:104]), encode(random[104:]))
}

// getApp is GET /app.
func (g *Server) getApp(*exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	app := g.appJSON()
	app["installations_count"] = len(g.installations)
	return okResponse(app)
}

// appJSON is the App itself. The caller holds g.mu.
func (g *Server) appJSON() jsonObject {
	return jsonObject{
		"id": g.cfg.AppID, "slug": g.cfg.AppSlug, "node_id": nodeID("A", g.cfg.AppID), "name": g.cfg.AppSlug,
		"owner":     g.userJSON(g.cfg.URL, g.cfg.AppSlug+"-authors"),
		"client_id": fmt.Sprintf("Iv1.%016x", g.cfg.AppID), "description": "", "external_url": "https://github.com/apps/" + g.cfg.AppSlug,
		"html_url": "https://github.com/apps/" + g.cfg.AppSlug, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
		"permissions": g.cfg.Permissions, "events": g.cfg.Events,
	}
}

// installationJSON is an installation in an answer. The caller holds g.mu.
func (g *Server) installationJSON(api string, i *appInstallation) jsonObject {
	body := jsonObject{
		"id": i.id, "account": g.userJSON(api, i.account), "app_id": g.cfg.AppID, "app_slug": g.cfg.AppSlug,
		"target_id": g.userID(i.account), "target_type": "User", "repository_selection": "selected",
		"permissions": i.permissions, "events": i.events, "single_file_name": nil,
		"access_tokens_url": fmt.Sprintf("%s/app/installations/%d/access_tokens", api, i.id),
		"repositories_url":  api + "/installation/repositories",
		"html_url":          fmt.Sprintf("https://github.com/settings/installations/%d", i.id),
		"created_at":        i.createdAt, "updated_at": i.createdAt, "suspended_at": nil, "suspended_by": nil,
	}
	if !i.suspendedAt.IsZero() {
		body["suspended_at"] = i.suspendedAt
	}
	return body
}

// listInstallations is GET /app/installations.
func (g *Server) listInstallations(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []jsonObject{}
	for _, id := range slices.Sorted(maps.Keys(g.installations)) {
		if i := g.installations[id]; !i.deleted {
			items = append(items, g.installationJSON(x.api, i))
		}
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: page}
}

// getRepositoryInstallation is GET /repos/{owner}/{repo}/installation.
func (g *Server) getRepositoryInstallation(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.installationReply(x, x.repo.Installation)
}

func (g *Server) installationReply(x *exchange, id int64) response {
	if i := g.installations[id]; i != nil && !i.deleted {
		return okResponse(g.installationJSON(x.api, i))
	}
	return notFound()
}

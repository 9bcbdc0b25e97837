package github

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const docsURL = "https://docs.github.com/rest"

// Call is a request that the stand-in answered.
type Call struct {
	Method, Path, Query string
	Route               string // the route's pattern; "": there is no such route
	Status              int    // 0: the connection was dropped
}

// Fault says what goes wrong with one request. The zero value is nothing.
type Fault struct {
	Delay      time.Duration // before anything else
	Drop       bool          // cut the connection, and do nothing
	LoseAnswer bool          // do what was asked, then cut the connection
	Status     int           // answer this, and do nothing
	Header     http.Header   // with Status
	Body       string        // with Status; "": a JSON error like GitHub's
}

func (f Fault) reply() response {
	if f.Body != "" {
		return response{status: f.Status, header: f.Header, body: []byte(f.Body)}
	}
	reply := refuse(f.Status, http.StatusText(f.Status))
	reply.header = f.Header
	return reply
}

// Fault sets a function that decides, before each request, what goes wrong with it. nil
// means nothing.
func (g *Server) Fault(f func(*http.Request) Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = f
}

// Calls lists the requests answered so far, in the order of their answers.
func (g *Server) Calls() []Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// UnknownCalls lists the requests for which GitHub, as the stand-in knows it, has no route.
func (g *Server) UnknownCalls() []Call {
	return slices.DeleteFunc(g.Calls(), func(c Call) bool { return c.Route != "" || c.Status == 0 })
}

// ResetCalls forgets the requests answered so far.
func (g *Server) ResetCalls() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = nil
}

// exchange is one request on its way to the function of its route.
type exchange struct {
	*http.Request
	api    string             // the API's base URL as the caller reached it, without a slash at the end
	params map[string]string  // the pattern's wildcards
	repo   *repository        // of /repos/{owner}/{repo}; it may be renamed meanwhile, but these stay:
	self   string             // its URL in the API
	page   string             // its URL for people
	full   string             // OWNER/NAME
	token  *installationToken // nil for a JWT
}

// response is an answer. A body of type []byte is sent as it is, any other as JSON.
type response struct {
	status int
	header http.Header
	body   any
}

// jsonObject is a JSON object.
type jsonObject = map[string]any

func okResponse(body any) response { return response{status: http.StatusOK, body: body} }

func refuse(status int, message string) response {
	return response{status: status, body: jsonObject{
		"message": message, "documentation_url": docsURL, "status": strconv.Itoa(status),
	}}
}

func notFound() response { return refuse(http.StatusNotFound, "Not Found") }

// invalid is GitHub's answer to a field that it does not accept.
func invalid(resource, field, code, message string) response {
	fault := jsonObject{"resource": resource, "field": field, "code": code}
	if message != "" {
		fault["message"] = message
	}
	return response{status: http.StatusUnprocessableEntity, body: jsonObject{
		"message": "Validation Failed", "errors": []jsonObject{fault},
		"documentation_url": docsURL, "status": "422",
	}}
}

// decode reads the request's JSON. If ok is false, the caller sends the reply.
func (x *exchange) decode(into any) (reply response, ok bool) {
	body, err := io.ReadAll(io.LimitReader(x.Body, 32<<20))
	if err != nil {
		return refuse(http.StatusBadRequest, "Problems reading the body"), false
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	if err := json.Unmarshal(body, into); err != nil {
		if _, isType := err.(*json.UnmarshalTypeError); isType { //nolint:errorlint // Unmarshal returns it bare
			return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+err.Error()), false
		}
		return refuse(http.StatusBadRequest, "Problems parsing JSON"), false
	}
	return response{}, true
}

func (x *exchange) id(name string) int64 {
	n, err := strconv.ParseInt(x.params[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// paginate cuts items to the page that was asked for, and makes its Link header.
func paginate[T any](x *exchange, items []T) ([]T, http.Header) {
	query := x.URL.Query()
	size := queryNumber(query.Get("per_page"), 30, 100)
	number := queryNumber(query.Get("page"), 1, 1<<30)
	last := max(1, (len(items)+size-1)/size)
	links := x.links(map[string]int{"prev": number - 1, "next": number + 1, "last": last, "first": 1}, number, last)
	from := min((number-1)*size, len(items))
	return items[from:min(from+size, len(items))], links
}

// links makes the Link header of a page. Like GitHub it leaves out what does not apply to
// the first and last page.
func (x *exchange) links(pages map[string]int, number, last int) http.Header {
	var links []string
	for _, rel := range []string{"prev", "next", "last", "first"} {
		if back := rel == "prev" || rel == "first"; back && number <= 1 || !back && number >= last {
			continue
		}
		links = append(links, x.link(rel, "page", strconv.Itoa(pages[rel])))
	}
	if len(links) == 0 {
		return http.Header{}
	}
	return http.Header{"Link": {strings.Join(links, ", ")}}
}

// link is one element of a Link header: this request with another page.
func (x *exchange) link(rel, key, value string) string {
	query := x.URL.Query()
	query.Set(key, value)
	return "<" + originOf(x.Request) + x.URL.EscapedPath() + "?" + query.Encode() + `>; rel="` + rel + `"`
}

func queryNumber(text string, otherwise, limit int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return otherwise
	}
	return min(n, limit)
}

// ServeHTTP answers like GitHub's REST API.
func (g *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	ask := g.fault
	g.underWay++
	g.mu.Unlock()
	defer g.leave()
	var fault Fault
	if ask != nil {
		fault = ask(r)
	}
	if !pause(r, g.cfg.Latency+fault.Delay) || fault.Drop {
		g.record(r, "", 0)
		panic(http.ErrAbortHandler)
	}
	route, reply := "fault", fault.reply()
	if fault.Status == 0 {
		route, reply = g.answer(r)
	}
	if fault.LoseAnswer {
		g.record(r, route, 0)
		panic(http.ErrAbortHandler)
	}
	g.record(r, route, reply.status)
	reply.write(w)
}

func (g *Server) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay--
}

// pause waits for d. It is false if the client went away first.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (g *Server) record(r *http.Request, route string, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, Call{r.Method, r.URL.Path, r.URL.RawQuery, route, status})
	g.cfg.Log.DebugContext(r.Context(), "github stand-in answered", "method", r.Method, "path", r.URL.Path, "status", status)
	g.notify()
}

// encoded has its body as bytes.
func (p response) encoded() response {
	if _, raw := p.body.([]byte); raw || p.body == nil {
		return p
	}
	body, err := json.Marshal(p.body)
	if err != nil {
		p.status, body = http.StatusInternalServerError, []byte(`{"message":"Server Error"}`)
	}
	p.body = body
	return p
}

// write sends the answer.
func (p response) write(w http.ResponseWriter) {
	p = p.encoded()
	body, _ := p.body.([]byte)
	for key, values := range p.header {
		w.Header()[http.CanonicalHeaderKey(key)] = values
	}
	if w.Header().Get("Content-Type") == "" && p.body != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("X-GitHub-Media-Type", "github.v3; format=json")
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // an error means that the client is gone
}

// answer finds the caller and the route, and calls the route's function.
func (g *Server) answer(r *http.Request) (route string, reply response) {
	if r.UserAgent() == "" {
		return "user-agent", refuse(http.StatusForbidden, "Request forbidden by administrative rules. "+
			"Please make sure your request has a User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required).")
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), g.cfg.BasePath+"/")
	if !ok {
		return "", notFound()
	}
	found, params := g.match(r.Method, path)
	if found == nil {
		return "", notFound()
	}
	x := &exchange{Request: r, params: params, api: originOf(r) + g.cfg.BasePath}
	return found.pattern, g.finish(x, g.admit(x, found))
}

// originOf is the scheme and host with which the client reached the stand-in.
func originOf(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}

// admit checks identity, limits, repository and permission, in this order, and then calls
// the route's function.
func (g *Server) admit(x *exchange, route *endpoint) response {
	if reply, ok := g.authenticate(x, route); !ok {
		return reply
	}
	if reply, ok := g.meter(x); !ok {
		return reply
	}
	if reply, ok := g.findRepository(x, route); !ok {
		return reply
	}
	if reply, ok := g.authorise(x, route); !ok {
		return reply
	}
	return route.serve(x)
}

// finish encodes the body, answers conditional requests and adds the headers of every answer.
func (g *Server) finish(x *exchange, reply response) response {
	if reply.header == nil {
		reply.header = http.Header{}
	}
	reply = reply.encoded()
	if body, ok := reply.body.([]byte); ok && x.Method == http.MethodGet && reply.status == http.StatusOK {
		sum := sha256.Sum256(body)
		etag := `W/"` + hex.EncodeToString(sum[:]) + `"`
		reply.header.Set("ETag", etag)
		if hasETag(x.Header.Get("If-None-Match"), etag) {
			reply.status, reply.body = http.StatusNotModified, nil
		}
	}
	g.account(x, &reply)
	reply.header.Set("Date", g.cfg.Now().UTC().Format(http.TimeFormat))
	return reply
}

func hasETag(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(candidate), "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

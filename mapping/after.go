package mapping

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/object"
	"github.com/purgebot/purgebot/internal/yaml"
)

// Bounds and defaults of what an environment asks for besides its purges.
const (
	// DefaultWithin is the default of redeploy's within.
	DefaultWithin = time.Hour
	maxWithin     = 7 * 24 * time.Hour

	defaultWait   = 2 * time.Minute
	maxWait       = 30 * time.Minute
	defaultSample = 20 // URLs
	maxSample     = 200
	maxVerified   = 100 // urls of verify, before hosts multiply them

	defaultWarmLimit       = 500 // URLs of one purge
	maxWarmLimit           = 10_000
	defaultWarmConcurrency = 4 // requests at a time
	maxWarmConcurrency     = 32
)

// after is what an environment asks for besides its purges. Its templates have no changed
// file: see noFile.
type after struct {
	rebuild objects // purge of redeploy: what a rebuild purges
	verify  *verify // nil: nothing is looked at

	hostless bool // a fault about the hosts was reported, so checkHosts keeps silent
}

// verify is Verify with the templates that its Marker and URLs are made from.
type verify struct {
	Verify
	marker, urls []objectTemplate
}

// readAfter reads redeploy, verify and warm. What has templates goes into r.environment,
// the rest into e.
func (r *reader) readAfter(got map[string]*yaml.Node, e *Environment) {
	if n := got["redeploy"]; n != nil {
		r.readRedeploy(n, e)
	}
	if n := got["verify"]; n != nil {
		r.environment.verify = r.readVerify(n)
	}
	if n := got["warm"]; n != nil {
		e.Warm = r.readWarm(n)
	}
}

// readRedeploy reads when another deployment of the live commit is a rebuild, and what
// that purges.
func (r *reader) readRedeploy(n *yaml.Node, e *Environment) {
	got := r.fields(n, "redeploy", "within", "purge")
	if n := got["within"]; n != nil {
		e.Redeploy = r.duration(n, "within", maxWithin)
	}
	if n := got["purge"]; n != nil {
		if got := r.fields(n, "purge", "urls", "tags", "cpcodes"); got != nil {
			r.environment.rebuild = r.readObjects(got)
			if len(n.Pairs) == 0 {
				r.errorf(n, "purge is empty: give it urls, tags or cpcodes, or remove the key")
			}
		}
	}
}

// readVerify reads verify. A key that only matters with an origin gets a warning without
// one, since it does nothing.
func (r *reader) readVerify(n *yaml.Node) *verify {
	v := &verify{Verify: Verify{Wait: defaultWait, Late: LatePurge, Sample: defaultSample}}
	got := r.fields(n, "verify", "origin", "marker", "wait", "late", "sample", "urls")
	if n := got["origin"]; n != nil {
		v.Origin = r.readOrigin(n)
	}
	if n := got["marker"]; n != nil {
		if s, ok := r.str(n, "marker"); ok {
			if t, ok := r.readURL(n, s); ok {
				v.marker = append(v.marker, t)
			}
		}
	}
	if n := got["wait"]; n != nil {
		v.Wait = r.duration(n, "wait", maxWait)
	}
	if n := got["late"]; n != nil {
		if s, ok := r.choice(n, "late", string(LatePurge), string(LateFail)); ok {
			v.Late = Late(s)
		}
	}
	if n := got["sample"]; n != nil {
		v.Sample = r.upTo(n, "sample", maxSample)
	}
	if n := got["urls"]; n != nil {
		v.urls = r.readObjects(map[string]*yaml.Node{"urls": n}).urls
		if len(v.urls) > maxVerified {
			r.errorf(n, "too many urls: at most %d are looked at", maxVerified)
		}
	}
	for _, key := range []string{"marker", "wait", "late"} {
		if got[key] != nil && got["origin"] == nil {
			r.warnf(got[key], "%s does nothing without an origin to ask: add origin: origin.example.com", key)
		}
	}
	return v
}

// readOrigin reads HOST or HOST:PORT. The host becomes lower case and punycode. It
// returns "" if there is a fault.
func (r *reader) readOrigin(n *yaml.Node) string {
	s, ok := r.str(n, "origin")
	if !ok {
		return ""
	}
	host, port := s, ""
	// An error means that there is no port. What else is wrong shows below: ":" is no
	// part of a host name.
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	ascii, err := object.ASCIIHost(host)
	if number, e := strconv.ParseUint(port, 10, 16); err != nil || port != "" && (e != nil || number == 0) {
		r.errorf(n, "origin must be a host name, with or without a port, as origin.example.com:8443, not %s%s", quote(s), hostHint(s))
		return ""
	}
	if port == "" {
		return ascii
	}
	return net.JoinHostPort(ascii, port)
}

// readWarm reads warm. Without the key an environment warms nothing; with it, missing
// keys have their defaults.
func (r *reader) readWarm(n *yaml.Node) Warm {
	w := Warm{Limit: defaultWarmLimit, Concurrency: defaultWarmConcurrency}
	got := r.fields(n, "warm", "limit", "concurrency")
	if got == nil {
		return Warm{}
	}
	if n := got["limit"]; n != nil {
		w.Limit = r.upTo(n, "limit", maxWarmLimit)
	}
	if n := got["concurrency"]; n != nil {
		if w.Concurrency = r.upTo(n, "concurrency", maxWarmConcurrency); w.Concurrency == 0 {
			r.errorf(n, "concurrency must be 1 at least; write limit: 0 to warm nothing")
		}
	}
	return w
}

// upTo reads a whole number. One above most is an error and becomes most.
func (r *reader) upTo(n *yaml.Node, what string, most int) int {
	v, ok := r.whole(n, what)
	if ok && v > most {
		r.errorf(n, "%s must be %d at most, not %d", what, most, v)
		return most
	}
	return v
}

// yes reads true or false. Anything else is an error and false.
func (r *reader) yes(n *yaml.Node, what string) bool {
	if n.Kind != yaml.Bool {
		r.errorf(n, "%s must be true or false, not %s", what, n.Kind)
	}
	return n.Kind == yaml.Bool && strings.EqualFold(n.Text, "true")
}

// duration reads a time such as 30s, from 0 to most. A plain number other than 0 is an
// error, because its unit is not certain.
func (r *reader) duration(n *yaml.Node, what string, most time.Duration) time.Duration {
	if n.Kind == yaml.Number && n.Text != "0" {
		r.errorf(n, "%s needs a unit: write %ss for seconds, or %sm for minutes", what, n.Text, n.Text)
		return 0
	}
	if n.Kind != yaml.Number && n.Kind != yaml.Text {
		r.errorf(n, "%s must be a time, not %s: write 30s, or 2m", what, n.Kind)
		return 0
	}
	d, err := time.ParseDuration(n.Text)
	switch {
	case err != nil:
		r.errorf(n, "%s must be a time, not %s: write 30s, or 2m", what, quote(n.Text))
	case d < 0 || d > most:
		r.errorf(n, "%s must lie between 0s and %s, not %s", what, units(most), n.Text)
	}
	return d
}

// units writes a time of whole hours or minutes as a rules file does.
func units(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// checkAfter finds placeholders of a changed file where there is none, and {host} without
// hosts.
func (r *reader) checkAfter() {
	for i, a := range r.file.after {
		only := []namePattern{r.file.keys[i]}
		r.noFile(a.rebuild.templates(), "redeploy")
		r.checkHosts(a.rebuild, only)
		if a.verify != nil {
			looked := slices.Concat(a.verify.marker, a.verify.urls)
			r.noFile(looked, "verify")
			r.checkHosts(objects{urls: looked}, only)
		}
	}
}

// noFile reports the first placeholder of each template that comes from a changed file.
func (r *reader) noFile(templates []objectTemplate, where string) {
	for _, t := range templates {
		for _, p := range t.pieces {
			if p.ofFile() {
				r.errorf(t.at, "%s has no meaning in %s: it is of no changed file", quote(p.String()), where)
				break
			}
		}
	}
}

// ofFile reports whether the piece comes from the path of a changed file.
func (p piece) ofFile() bool {
	switch p.name {
	case phPath, phDir, phFile, phName, phExt:
		return true
	case phHost, phEnv, phOwner, phRepo, phBranch:
	}
	return p.number > 0
}

// PlanRebuild plans what a rebuild of the live commit purges: another deployment of it,
// later than the environment's Redeploy. It ignores the changes and the rollback of the
// query. Its errors are those of Plan.
func (f *File) PlanRebuild(ctx context.Context, q Query) (Plan, error) {
	i := f.find(q.Environment)
	if i < 0 {
		return Plan{}, ErrUnknownEnvironment
	}
	q.Changes, q.Rollback = nil, false
	left := planBounds(ctx, q.Steps)
	return f.plan(q, &left, &f.after[i].rebuild)
}

// Verify returns what the environment of the query asks for, with its templates expanded
// for each host; nil if it asks for nothing. A URL that can't be requested is left out.
func (f *File) Verify(q Query) *Verify {
	i := f.find(q.Environment)
	if i < 0 || f.after[i].verify == nil {
		return nil
	}
	env, _ := f.Environment(q.Environment)
	s := newSide(f, env, q)
	urls := func(templates []objectTemplate) (all []string) {
		for i := range templates {
			for _, host := range s.hostsFor(&templates[i]) {
				if url, reason := templates[i].url.appendURL(nil, &s.values, host); reason == "" {
					all = append(all, string(url))
				}
			}
		}
		return all
	}
	v := f.after[i].verify.Verify
	v.Marker, v.URLs = urls(f.after[i].verify.marker), urls(f.after[i].verify.urls)
	return &v
}

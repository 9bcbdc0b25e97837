package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/mapping"
)

// entry is a file's entry with the defaults, changed by f.
func entry(f func(*policy.Entry)) policy.Entry {
	e := policy.NewEntry()
	e.Repositories = []string{"acme/*"}
	e.Hosts = []string{"www.acme.com", "*.acme.com", "müller.example"}
	e.Tags = []string{"acme-*"}
	e.CPCodes = []int64{12345}
	if f != nil {
		f(&e)
	}
	return e
}

func TestRefusal(t *testing.T) {
	const noURL, noScheme = "it has no proper host", "it is not an absolute http or https URL"
	for _, tt := range []struct {
		name   string
		kind   mapping.Kind
		object string
		want   string
	}{
		{"listed", mapping.URL, "https://www.acme.com/a", ""},
		{"capitals", mapping.URL, "HTTPS://WWW.Acme.COM/a", ""},
		{"port", mapping.URL, "https://www.acme.com:8443/a", ""},
		{"trailing dot", mapping.URL, "https://www.acme.com./a", ""},
		{"far below", mapping.URL, "http://a.b.c.acme.com/", ""},
		{"IDN as people write it", mapping.URL, "https://Müller.example/", ""},
		{"IDN as requests have it", mapping.URL, "https://xn--mller-kva.example/", ""},
		{"ARL", mapping.URL, "/L/512/6848/1h/www.acme.com/a", ""},
		{"ARL with a port", mapping.URL, "/L/512/6848/1h/www.acme.com:443/a", ""},

		{"another host", mapping.URL, "https://www.evil.com/a", "policy doesn't allow host www.evil.com for acme/site"},
		{"not the apex", mapping.URL, "https://acme.com/", "policy doesn't allow host acme.com for acme/site"},
		{"not below, only alike", mapping.URL, "https://evilacme.com/", "policy doesn't allow host evilacme.com for acme/site"},
		{"listed as a label of another", mapping.URL, "https://www.acme.com.evil.com/", "policy doesn't allow host www.acme.com.evil.com for acme/site"},
		{"listed in the path", mapping.URL, "https://www.evil.com/www.acme.com", "policy doesn't allow host www.evil.com for acme/site"},
		{"listed in the query", mapping.URL, "https://www.evil.com?@www.acme.com/", "policy doesn't allow host www.evil.com for acme/site"},
		{"listed in the fragment", mapping.URL, "https://www.evil.com#@www.acme.com/", "policy doesn't allow host www.evil.com for acme/site"},
		{"letters that look alike", mapping.URL, "https://www.аcme.com/", "policy doesn't allow host www.xn--cme-5cd.com for acme/site"},
		{"full-width letters are the letters", mapping.URL, "https://ｗｗｗ.ａcme.com/", ""},
		{"full-width dot is a dot", mapping.URL, "https://evil.com。www.acme.com/", ""},
		{"ARL of another host", mapping.URL, "/L/512/6848/1h/www.evil.com/www.acme.com/", "policy doesn't allow host www.evil.com for acme/site"},
		{"user before the host", mapping.URL, "https://www.acme.com@www.evil.com/", "a user stands before its host"},
		{"listed host as a user's", mapping.URL, "https://x:y@www.acme.com/", "a user stands before its host"},
		{"backslash", mapping.URL, `https://www.evil.com\@www.acme.com/`, "a space, a backslash or a control character stands in it"},
		{"tab", mapping.URL, "https://www.acme.com\t.evil.com/", "a space, a backslash or a control character stands in it"},
		{"space", mapping.URL, "https://www.acme.com/a b", "a space, a backslash or a control character stands in it"},
		{"escaped dot", mapping.URL, "https://www%2eacme.com/", noScheme},
		{"full-width solidus in the host", mapping.URL, "https://www.evil.com／.acme.com/", noURL},
		{"empty label", mapping.URL, "https://www..acme.com/", noURL},
		{"two trailing dots", mapping.URL, "https://www.acme.com../", noURL},
		{"no host", mapping.URL, "https:///a", noURL},
		{"dot alone", mapping.URL, "https://./a", noURL},
		{"no scheme", mapping.URL, "//www.acme.com/a", "neither an absolute URL nor an ARL"},
		{"path alone", mapping.URL, "/a", "neither an absolute URL nor an ARL"},
		{"not quite an ARL", mapping.URL, "/L/512//1h/www.acme.com/", "neither an absolute URL nor an ARL"},
		{"another scheme", mapping.URL, "ftp://www.acme.com/a", noScheme},
		{"opaque", mapping.URL, "https:www.acme.com/a", noScheme},
		{"empty", mapping.URL, "", noScheme},

		{"tag", mapping.Tag, "acme-product-7", ""},
		{"tag with a slash", mapping.Tag, "acme-docs/api", ""},
		{"tag of others", mapping.Tag, "evil-acme-x", "policy doesn't allow tag evil-acme-x for acme/site"},
		{"tag in capitals", mapping.Tag, "Acme-product-7", "policy doesn't allow tag Acme-product-7 for acme/site"},

		{"CP code", mapping.CPCode, "12345", ""},
		{"another CP code", mapping.CPCode, "12346", "policy doesn't allow CP code 12346 for acme/site"},
		{"no CP code", mapping.CPCode, "all", "policy doesn't allow CP code all for acme/site"},
		{"no kind", mapping.Kind("zone"), "x", `policy doesn't know the kind "zone"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := policy.Policy{entry(nil)}.For("acme/site")
			got := g.Refusal(tt.kind, tt.object, mapping.Delete)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want != "" && !strings.HasPrefix(got, "policy doesn't ") {
				t.Errorf("%q does not say who refuses", got)
			}
			if person := g.PersonRefusal(tt.kind, tt.object); person != got {
				t.Errorf("to a person it says %q, to a deployment %q", person, got)
			}
		})
	}
}

func TestEveryHost(t *testing.T) {
	g := policy.Policy{entry(func(e *policy.Entry) { e.Hosts = []string{"*"} })}.For("acme/site")
	for object, want := range map[string]string{
		"https://anything.example/":   "",
		"https://127.0.0.1:8080/":     "",
		"https://[::1]:8080/":         "",
		"https://u@anything.example/": "policy doesn't allow https://u@anything.example/: a user stands before its host",
	} {
		if got := g.Refusal(mapping.URL, object, mapping.Invalidate); got != want {
			t.Errorf("%s: got %q, want %q", object, got, want)
		}
	}
}

func TestRepositories(t *testing.T) {
	for _, tt := range []struct {
		name, glob, repository string
		want                   bool
	}{
		{"exact", "acme/site", "acme/site", true},
		{"case", "Acme/Site", "aCME/sITE", true},
		{"owner's", "acme/*", "acme/site", true},
		{"all", "**", "acme/site", true},
		{"alternatives", "{acme,octo}/*", "octo/site", true},
		{"suffix", "acme/*-docs", "acme/api-docs", true},
		{"another owner's", "acme/*", "acme2/site", false},
		{"one star is one element", "*", "acme/site", false},
		{"no glob", "[", "acme/site", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy.Policy{entry(func(e *policy.Entry) { e.Repositories = []string{"x/y", tt.glob} })}
			if got := p.For(tt.repository).Listed(); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestNothingIsAllowedThatIsNotListed(t *testing.T) {
	for name, g := range map[string]policy.Grant{
		"zero grant":         {},
		"no policy":          policy.Policy(nil).For("acme/site"),
		"another repository": policy.Policy{entry(nil)}.For("octo/site"),
		"zero entry":         policy.Policy{{Repositories: []string{"acme/*"}}}.For("acme/site"),
	} {
		t.Run(name, func(t *testing.T) {
			for kind, object := range map[mapping.Kind]string{
				mapping.URL: "https://www.acme.com/", mapping.Tag: "acme-x", mapping.CPCode: "12345",
			} {
				if g.Refusal(kind, object, mapping.Invalidate) == "" {
					t.Errorf("%s %s is allowed", kind, object)
				}
				if g.May(policy.Admin, kind, mapping.Invalidate) {
					t.Errorf("an admin may purge a %s", kind)
				}
			}
			if g.Creator("ada") {
				t.Error("anybody's deployment counts")
			}
		})
	}
}

func TestDeploys(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*policy.Entry)
		kind   mapping.Kind
		object string
		action mapping.Action
		want   string
	}{
		{"delete", func(e *policy.Entry) { e.Deploys.Delete = false }, mapping.URL, "https://www.acme.com/", mapping.Delete, "policy doesn't allow deployments of acme/site to delete https://www.acme.com/"},
		{"invalidate", func(e *policy.Entry) { e.Deploys.Delete = false }, mapping.URL, "https://www.acme.com/", mapping.Invalidate, ""},
		{"CP code", func(e *policy.Entry) { e.Deploys.CPCode = false }, mapping.CPCode, "12345", mapping.Invalidate, "policy doesn't allow deployments of acme/site to purge CP codes (12345)"},
		{"tag", func(e *policy.Entry) { e.Deploys.CPCode = false }, mapping.Tag, "acme-x", mapping.Delete, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := policy.Policy{entry(tt.change)}.For("acme/site")
			if got := g.Refusal(tt.kind, tt.object, tt.action); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := g.PersonRefusal(tt.kind, tt.object); got != "" {
				t.Errorf("a person is refused too: %q", got)
			}
		})
	}
}

func TestCreator(t *testing.T) {
	for _, tt := range []struct {
		name     string
		creators []string
		login    string
		want     bool
	}{
		{"everybody", []string{"*"}, "ada", true},
		{"named", []string{"x", "github-actions[bot]"}, "GitHub-Actions[bot]", true},
		{"another", []string{"github-actions[bot]"}, "ada", false},
		{"nobody", nil, "ada", false},
		{"no login", []string{"*"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := policy.Policy{entry(func(e *policy.Entry) { e.Deploys.Creators = tt.creators })}.For("acme/site")
			if got := g.Creator(tt.login); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestRequired(t *testing.T) {
	high := func(e *policy.Entry) {
		e.Comments = policy.Comments{Permission: policy.Maintain, Delete: policy.Read, CPCode: policy.Write}
	}
	for _, tt := range []struct {
		name   string
		change func(*policy.Entry)
		kind   mapping.Kind
		action mapping.Action
		want   policy.Role
	}{
		{"URL", nil, mapping.URL, mapping.Invalidate, policy.Write},
		{"tag", nil, mapping.Tag, mapping.Invalidate, policy.Write},
		{"deleted URL", nil, mapping.URL, mapping.Delete, policy.Maintain},
		{"CP code", nil, mapping.CPCode, mapping.Invalidate, policy.Admin},
		{"deleted CP code: both", func(e *policy.Entry) { e.Comments.CPCode = policy.Read }, mapping.CPCode, mapping.Delete, policy.Maintain},
		{"every command needs permission", high, mapping.CPCode, mapping.Delete, policy.Maintain},
		{"not a role", func(e *policy.Entry) { e.Comments.Permission = "boss" }, mapping.URL, mapping.Invalidate, "boss"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := policy.Policy{entry(tt.change)}.For("acme/site")
			if got := g.Required(tt.kind, tt.action); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			for i, role := range policy.Roles() {
				enough := false
				for _, r := range policy.Roles()[:i+1] {
					enough = enough || r == tt.want
				}
				if got := g.May(role, tt.kind, tt.action); got != enough {
					t.Errorf("%s may: %t", role, got)
				}
			}
			for _, role := range []policy.Role{policy.None, "", "custom", policy.Nobody} {
				if g.May(role, tt.kind, tt.action) {
					t.Errorf("%q may", role)
				}
			}
		})
	}
}

// Lists add up; of restrictions the strictest counts.
func TestSeveralEntries(t *testing.T) {
	g := policy.Policy{
		entry(func(e *policy.Entry) {
			e.Comments.Permission = policy.Triage
			e.HoldOver = policy.HoldOver{Delete: 50}
		}),
		entry(func(e *policy.Entry) {
			e.Repositories = []string{"acme/shop"}
			e.Hosts, e.Tags, e.CPCodes = []string{"shop.example"}, nil, nil
			e.Deploys.Creators = []string{"github-actions[bot]"}
			e.Deploys.Delete = false
			e.HoldOver = policy.HoldOver{Delete: 20, CPCode: 3}
		}),
	}.For("acme/shop")
	for _, object := range []string{"https://www.acme.com/", "https://shop.example/"} {
		if got := g.Refusal(mapping.URL, object, mapping.Invalidate); got != "" {
			t.Errorf("%s: %s", object, got)
		}
		if g.Refusal(mapping.URL, object, mapping.Delete) == "" {
			t.Errorf("%s: a deployment may delete", object)
		}
	}
	if g.Creator("ada") || !g.Creator("github-actions[bot]") {
		t.Error("a person whom one entry refuses must not count")
	}
	if got := g.Command(); got != policy.Write {
		t.Errorf("a command needs %s, want write", got)
	}
	if diff := cmp.Diff(policy.HoldOver{Delete: 20, CPCode: 3}, g.HoldOver()); diff != "" {
		t.Error(diff)
	}
}

func TestHoldOver(t *testing.T) {
	for _, tt := range []struct {
		name             string
		limit            policy.HoldOver
		deletes, cpcodes int
		want             string
	}{
		{"never", policy.HoldOver{}, 1000, 1000, ""},
		{"as many", policy.HoldOver{Delete: 3, CPCode: 1}, 3, 1, ""},
		{"one delete more", policy.HoldOver{Delete: 3}, 4, 9, "4 deletes, limit 3"},
		{"one CP code more", policy.HoldOver{Delete: 3, CPCode: 1}, 3, 2, "2 CP codes, limit 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.limit.Exceeded(tt.deletes, tt.cpcodes); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	if got := entry(nil).Faults(); got != nil {
		t.Fatalf("a good entry has faults: %v", got)
	}
	bad := policy.Entry{
		Repositories: []string{"acme", "[", "acme/*"},
		Hosts:        []string{"https://www.acme.com/", "www.*.com", "acme.com:443", "a b", "", "*", "*.acme.com"},
		Tags:         []string{"", "["},
		CPCodes:      []int64{0, -1, 1},
		Comments:     policy.Comments{Permission: "boss", Delete: policy.Admin},
		Deploys:      policy.Deploys{Creators: []string{"*", "*[bot]", ""}},
		HoldOver:     policy.HoldOver{Delete: -1, CPCode: -2},
		Previews:     policy.Previews{Fail: []policy.Finding{policy.Held, "always"}},
	}
	want := []policy.Fault{
		{"repositories", 0, `"acme" fits no repository: write owner/name`},
		{"repositories", 1, `the glob "[" has a "[" without a "]" after it; write "\[" for the character itself`},
		{"hosts", 0, `"https://www.acme.com/" is a URL: write its host alone`},
		{"hosts", 1, `"www.*.com": a * may only stand first, as in *.acme.com`},
		{"hosts", 2, `"acme.com:443": write the host without a port, every port is meant`},
		{"hosts", 3, `"a b" is not a host name`},
		{"hosts", 4, `"" is not a host name`},
		{"tags", 0, `the glob "" is empty; write "**" for every file`},
		{"tags", 1, `the glob "[" has a "[" without a "]" after it; write "\[" for the character itself`},
		{"cpcodes", 0, "0 is not a CP code"},
		{"cpcodes", 1, "-1 is not a CP code"},
		{"comments.permission", -1, `"boss" is not a role: read, triage, write, maintain or admin`},
		{"comments.cpcode", -1, `"" is not a role: read, triage, write, maintain or admin`},
		{"deploys.creators", 1, `"*[bot]" is not a login, and not "*"`},
		{"deploys.creators", 2, `"" is not a login, and not "*"`},
		{"hold_over.delete", -1, "-1 is negative; 0 holds nothing"},
		{"hold_over.cpcode", -1, "-2 is negative; 0 holds nothing"},
		{"previews.fail", 1, `"always" is no reason: write refused, held or unmatched`},
	}
	if diff := cmp.Diff(want, bad.Faults()); diff != "" {
		t.Error(diff)
	}
}

// Every entry that fits adds what makes a preview fail.
func TestPreviewFails(t *testing.T) {
	one, two, other := entry(nil), entry(nil), entry(nil)
	one.Previews.Fail, two.Previews.Fail = []policy.Finding{policy.Refused}, []policy.Finding{policy.Held}
	other.Repositories, other.Previews.Fail = []string{"other/*"}, []policy.Finding{policy.Unmatched}
	g := policy.Policy{one, two, other}.For("acme/site")
	if !g.PreviewFails(policy.Refused) || !g.PreviewFails(policy.Held) || g.PreviewFails(policy.Unmatched) {
		t.Errorf("refused %v, held %v, unmatched %v", g.PreviewFails(policy.Refused), g.PreviewFails(policy.Held), g.PreviewFails(policy.Unmatched))
	}
	if (policy.Policy{}).For("acme/site").PreviewFails(policy.Refused) {
		t.Error("without an entry it fails")
	}
}

// FuzzHost: a host is allowed only where a reading that is not ours finds it
// in the object too.
func FuzzHost(f *testing.F) {
	for _, s := range []string{
		"https://www.acme.com/", "https://www.acme.com@evil.com/", `https://evil.com\.acme.com`,
		"/L/1/2/3d/www.acme.com/", "https://www.acme.com.:443", "https://WWW.ACME.COM?", "https://evil.com/www.acme.com",
	} {
		f.Add(s)
	}
	e := policy.NewEntry()
	e.Repositories, e.Hosts = []string{"acme/site"}, []string{"www.acme.com"}
	g := policy.Policy{e}.For("acme/site")
	f.Fuzz(func(t *testing.T, object string) {
		if g.Refusal(mapping.URL, object, mapping.Invalidate) != "" {
			return
		}
		for _, r := range object {
			if r >= 0x80 {
				return // the naive reading below knows no IDN
			}
		}
		_, rest, ok := strings.Cut(strings.ToLower(object), "://")
		if !ok || strings.HasPrefix(object, "/") {
			rest = strings.Join(append(strings.Split(strings.ToLower(object), "/"), "", "", "", "", "")[5:], "/")
		}
		end := strings.IndexAny(rest+"/", "/?#:")
		if host := strings.TrimSuffix(rest[:end], "."); host != "www.acme.com" {
			t.Errorf("%q is allowed, though its host is %q", object, host)
		}
	})
}

// A glob that takes repositories which anybody can create makes anybody an admin of the
// cache.
func TestOwnerWideGlobsAreWarnedOf(t *testing.T) {
	entry := func(change func(*policy.Entry), globs ...string) policy.Entry {
		e := policy.NewEntry()
		e.Repositories = globs
		change(&e)
		return e
	}
	hosts := func(hosts ...string) func(*policy.Entry) { return func(e *policy.Entry) { e.Hosts = hosts } }
	for name, test := range map[string]struct {
		entry policy.Entry
		index int // of the glob that is warned of; -1: none
		gives string
	}{
		"an owner's":               {entry(hosts("www.acme.com"), "acme/www", "acme/*"), 1, "deletes."},
		"any owner's":              {entry(hosts("www.acme.com"), "*/*"), 0, "deletes."},
		"everything":               {entry(hosts("*"), "**"), 0, "deletes, every host."},
		"by braces":                {entry(hosts("www.acme.com"), "acme/{www,*}"), 0, "deletes."},
		"by a class":               {entry(hosts("www.acme.com"), "acme/[a-z]*"), 0, "deletes."},
		"CP codes and tags":        {entry(func(e *policy.Entry) { e.CPCodes, e.Tags = []int64{1}, []string{"*"} }, "acme/*"), 0, "CP codes, deletes, every tag."},
		"a prefix":                 {entry(hosts("*"), "acme/site-*"), -1, ""},
		"a suffix":                 {entry(hosts("*"), "acme/*-docs"), -1, ""},
		"an owner's site":          {entry(hosts("*"), "*/site"), -1, ""},
		"nothing allowed":          {entry(hosts(), "acme/*"), -1, ""},
		"one name in two spelling": {entry(hosts("*"), "acme/{a,b}"), -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.entry.Warnings()
			switch {
			case test.index < 0 && len(got) > 0:
				t.Errorf("warned: %v", got)
			case test.index >= 0 && (len(got) != 1 || got[0].Index != test.index || !strings.Contains(got[0].Message, "that gives them "+test.gives)):
				t.Errorf("got %v, want one of %d that gives %s", got, test.index, test.gives)
			}
		})
	}
}

// Package servertest is shared by the tests that run the whole server.
package servertest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/mapping"
)

// NaiveRules is a second implementation of the rules file, for comparison with the first.
// It shares no code with package mapping and makes no effort to be fast. It covers only
// what the tests' own files use.
type NaiveRules struct {
	Environments map[string]struct {
		Hosts []string `yaml:"hosts"`
	} `yaml:"environments"`
	Rules []naiveRule `yaml:"rules"`
}

type naiveRule struct {
	Match        any      `yaml:"match"`
	Exclude      []string `yaml:"exclude"`
	Environments []string `yaml:"environments"`
	URLs         []string `yaml:"urls"`
	Tags         []string `yaml:"tags"`
	CPCodes      []int    `yaml:"cpcodes"`
}

// ReadNaive reads a rules file.
func ReadNaive(src []byte) (*NaiveRules, error) {
	n := new(NaiveRules)
	if err := yaml.Unmarshal(src, n); err != nil {
		return nil, fmt.Errorf("read rules naively: %w", err)
	}
	return n, nil
}

// Objects are the objects that a changed path purges, as "url …", "tag …" and "cpcode …".
func (n *NaiveRules) Objects(environment, path string) []string {
	if path == "purge-rules.yaml" || path == ".github/purge-rules.yaml" {
		return nil
	}
	var out []string
	hosts := n.Environments[environment].Hosts
	for _, r := range n.Rules {
		values, ok := r.matches(path)
		if !ok || len(r.Environments) > 0 && !slices.Contains(r.Environments, environment) {
			continue
		}
		for _, u := range r.URLs {
			for _, host := range hosts {
				out = append(out, "url "+naiveURL(u, host, path, values))
			}
		}
		for _, tag := range r.Tags {
			out = append(out, "tag "+tag)
		}
		for _, code := range r.CPCodes {
			out = append(out, "cpcode "+strconv.Itoa(code))
		}
	}
	return out
}

func (r naiveRule) matches(path string) (values []string, ok bool) {
	for _, glob := range r.Exclude {
		if naiveGlob(glob).MatchString(path) {
			return nil, false
		}
	}
	globs, isList := r.Match.([]any)
	if !isList {
		globs = []any{r.Match}
	}
	for _, glob := range globs {
		if m := naiveGlob(fmt.Sprint(glob)).FindStringSubmatch(path); m != nil {
			return m[1:], true
		}
	}
	return nil, false
}

// naiveGlob turns a glob into a regular expression whose groups are the wildcards. They
// are lazy, because an earlier wildcard takes as little as it can.
func naiveGlob(glob string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
	for i := 0; i < len(glob); {
		rest := glob[i:]
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString("(?:(.*?)/)??")
			i += 3
		case rest == "/**":
			b.WriteString("(?:/(.*?))??")
			i += 3
		case rest == "**":
			b.WriteString("(.*?)")
			i += 2
		case rest[0] == '*':
			b.WriteString("([^/]*?)")
			i++
		case rest[0] == '?':
			b.WriteString("([^/])")
			i++
		case rest[0] == '{':
			end := strings.IndexByte(rest, '}')
			b.WriteString("(" + strings.ReplaceAll(regexp.QuoteMeta(rest[1:end]), ",", "|") + ")")
			i += end + 1
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
			i++
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

// naiveURL fills in a template and encodes the values.
func naiveURL(template, host, path string, values []string) string {
	u := strings.ReplaceAll(template, "{host}", host)
	u = strings.ReplaceAll(u, "{path}", naiveEncode(path))
	for i, v := range values {
		place := "{" + strconv.Itoa(i+1) + "}"
		if v == "" {
			u = strings.ReplaceAll(u, "/"+place+"/", "/")
		}
		u = strings.ReplaceAll(u, place, naiveEncode(v))
	}
	return u
}

func naiveEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%<>?\\^`{}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// GitDifference is the difference between two trees according to git.
func GitDifference(ctx context.Context, dir, from, to string) ([]mapping.Change, error) {
	s := &stage.Site{Dir: dir}
	out, err := s.Git(ctx, "diff", "--name-status", "--no-renames", "-z", from, to)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	var changes []mapping.Change
	for i := 0; i+1 < len(fields); i += 2 {
		op := mapping.Modified
		switch fields[i] {
		case "A":
			op = mapping.Added
		case "D":
			op = mapping.Removed
		}
		changes = append(changes, mapping.Change{Path: fields[i+1], Op: op})
	}
	return changes, nil
}

package generator

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/goccy/go-yaml"
)

// settings is a configuration file, with all keys in lower case, as Hugo compares them.
type settings map[string]any

// yamlTags are YAML tags that only the generator can resolve, such as !ENV and
// !!python/name:…. They are removed, because a YAML parser refuses what it does not know.
var yamlTags = regexp.MustCompile(`(^|[\s\[,])!!?[A-Za-z][\w/.:-]*`)

// settings reads a file by its extension. A file that can't be read gives empty settings:
// the rules then follow the generator's defaults.
func (t *tree) settings(name string) settings {
	text := t.read(name)
	var all map[string]any
	var err error
	switch path.Ext(name) {
	case ".toml":
		err = toml.Unmarshal([]byte(text), &all)
	case ".json":
		err = json.Unmarshal([]byte(text), &all)
	default:
		err = yaml.Unmarshal([]byte(yamlTags.ReplaceAllString(text, "$1")), &all)
	}
	if err != nil {
		return settings{}
	}
	lowered, _ := lowerKeys(all).(settings)
	return lowered
}

// lowerKeys puts all keys of a tree in lower case, at every level.
func lowerKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := settings{}
		for key, value := range v {
			out[strings.ToLower(key)] = lowerKeys(value)
		}
		return out
	case []map[string]any: // of TOML
		out := make([]any, len(v))
		for i := range v {
			out[i] = lowerKeys(v[i])
		}
		return out
	case []any:
		for i := range v {
			v[i] = lowerKeys(v[i])
		}
	}
	return v
}

// group returns the settings under a key. It is nil if there are none; a nil settings can
// be read like an empty one, and must not be written.
func (s settings) group(key string) settings {
	g, _ := s[key].(settings)
	return g
}

// text returns a scalar as text, "" for anything else.
func (s settings) text(key string) string {
	switch v := s[key].(type) {
	case string:
		return v
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	}
	return ""
}

// list returns a list; a single text counts as a list of one.
func (s settings) list(key string) []any {
	switch v := s[key].(type) {
	case []any:
		return v
	case string:
		return []any{v}
	}
	return nil
}

// page is a file of the site's content, with the scalars and lists of its front matter as
// they are written.
type page struct {
	path   string
	front  bool // the file has front matter, even if it is empty
	matter map[string]string
}

var matterKey = regexp.MustCompile(`^([A-Za-z_]\w*)\s*[:=]\s*(.*)$`)

// page reads the front matter of a file. It reads lines and not YAML: a fault in one
// line, which the generator may forgive, does not hide the other lines. A list over
// several lines becomes one text, [a, b].
func (t *tree) page(name string) *page {
	p := &page{path: name, matter: map[string]string{}}
	text := strings.TrimPrefix(t.read(name), "\ufeff")
	fence, rest, ok := strings.Cut(text, "\n")
	fence = strings.TrimSpace(fence)
	if !ok || fence != "---" && fence != "+++" {
		return p
	}
	last := ""
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == fence {
			p.front = true
			return p
		}
		if m := matterKey.FindStringSubmatch(line); m != nil {
			last = m[1]
			p.matter[last] = unquoted(m[2])
		} else if item, isItem := strings.CutPrefix(strings.TrimSpace(line), "- "); isItem && last != "" {
			p.matter[last] = "[" + strings.TrimPrefix(strings.Trim(p.matter[last], "[]")+", "+unquoted(item), ", ") + "]"
		}
	}
	p.matter = map[string]string{} // no closing fence: it was no front matter
	return p
}

// unquoted removes the quotes around a value, or a comment behind it.
func unquoted(value string) string {
	value = strings.TrimSpace(value)
	if len(value) > 1 && (value[0] == '"' || value[0] == '\'') {
		if end := strings.IndexByte(value[1:], value[0]); end >= 0 {
			return value[1 : end+1]
		}
	}
	value, _, _ = strings.Cut(value, " #")
	return strings.TrimSpace(value)
}

var day = regexp.MustCompile(`(\d{4})-(\d{1,2})-(\d{1,2})`)

// date is the date of the front matter or, without one, that in the file's name. Month
// and day have two digits.
func (p *page) date() (year, month, dayOfMonth string, ok bool) {
	m := day.FindStringSubmatch(p.matter["date"])
	if m == nil {
		if m = day.FindStringSubmatch(path.Base(p.path)); m == nil {
			return "", "", "", false
		}
	}
	pad := func(s string) string { return strings.Repeat("0", 2-len(s)) + s }
	return m[1], pad(m[2]), pad(m[3]), true
}

// dateIn is the date in a time zone. It differs from date only if the front matter has a
// time with another zone. An empty zone is UTC.
func (p *page) dateIn(zone string) (year, month, dayOfMonth string, ok bool) {
	at, err := time.Parse("2006-01-02 15:04:05 -0700", p.matter["date"])
	place, wrong := time.LoadLocation(zone)
	if err != nil || wrong != nil {
		return p.date()
	}
	at = at.In(place)
	return at.Format("2006"), at.Format("01"), at.Format("02"), true
}

var slashes = regexp.MustCompile(`/{2,}`)

// permalink replaces the tokens of a pattern by values, and several slashes by one. known
// is false if a token has no value.
func permalink(token *regexp.Regexp, pattern string, values map[string]string) (to string, known bool) {
	known = true
	to = token.ReplaceAllStringFunc(pattern, func(name string) string {
		v, ok := values[name]
		known = known && ok
		return v
	})
	return slashes.ReplaceAllString(to, "/"), known
}

// stem is the file's name without its folder and extension.
func (p *page) stem() string { return strings.TrimSuffix(path.Base(p.path), path.Ext(p.path)) }

var datePrefix = regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}-`)

// mostlyDated reports whether more than half of the names begin with a date.
func mostlyDated(files []string) bool {
	dated := 0
	for _, f := range files {
		if datePrefix.MatchString(path.Base(f)) {
			dated++
		}
	}
	return dated*2 > len(files)
}

package mapping

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaPage = "../docs/purge-rules.schema.json"

// A group is a place in a rules file that takes keys.
type group struct {
	name string // its name in the schema's definitions; "": the file itself
	file string // a file without faults, except for what a test puts at GROUP
}

func groups() []group {
	const head = "version: 1\nenvironments: {p: {hosts: [a.example]}}\n"
	return []group{
		{"", head + "rules: [{match: a, tags: [a]}]\nGROUP\n"},
		{"environment", "version: 1\nenvironments: {p: {GROUP}}\nrules: [{match: a, tags: [a]}]\n"},
		{"trigger", "version: 1\nenvironments: {p: {trigger: {GROUP}}}\nrules: [{match: a, tags: [a]}]\n"},
		{"redeploy", "version: 1\nenvironments: {p: {redeploy: {GROUP}}}\nrules: [{match: a, tags: [a]}]\n"},
		{"verify", "version: 1\nenvironments: {p: {verify: {origin: a.example, GROUP}}}\nrules: [{match: a, tags: [a]}]\n"},
		{"warm", "version: 1\nenvironments: {p: {warm: {GROUP}}}\nrules: [{match: a, tags: [a]}]\n"},
		{"rule", head + "rules: [{match: a, tags: [a], GROUP}]\n"},
		{"unmatched", head + "rules: [{match: a, tags: [a]}]\nunmatched: {GROUP}\n"},
		{"limit", head + "rules: [{match: a, tags: [a]}]\nlimits: [{over: 1, instead: hold, GROUP}]\n"},
		{"instead", head + "rules: [{match: a, tags: [a]}]\nlimits: [{over: 1, instead: {GROUP}}]\n"},
		{"test", head + "rules: [{match: a, tags: [a]}]\ntests: [{file: a, purges: ['tag:a'], GROUP}]\n"},
	}
}

// knownKeys returns the keys that the parser knows in each group. The parser lists all of
// them when it meets a key that is like none.
func knownKeys(t *testing.T) map[string]map[string]bool {
	t.Helper()
	known := map[string]map[string]bool{}
	for _, g := range groups() {
		keys := map[string]bool{}
		for _, words := range messages(g, "zzzzzzzzzz: 1") {
			if _, list, ok := strings.Cut(words, "there are "); ok {
				for key := range strings.SplitSeq(strings.ReplaceAll(list, " and ", ", "), ", ") {
					keys[key] = true
				}
			}
		}
		if len(keys) == 0 {
			t.Fatalf("the parser does not name the keys of %q", g.name)
		}
		known[g.name] = keys
	}
	return known
}

func messages(g group, inside string) []string {
	_, faults := Parse([]byte(strings.Replace(g.file, "GROUP", inside, 1)))
	var words []string
	for _, f := range faults {
		words = append(words, f.Message)
	}
	return words
}

func readSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal([]byte(readDoc(t, schemaPage)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The schema and the parser know the same keys.
func TestSchemaKeys(t *testing.T) {
	root := readSchema(t)
	for name, keys := range knownKeys(t) {
		def := root
		if name != "" {
			def = root.at("definitions", name)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(keys)), slices.Sorted(maps.Keys(def.at("properties")))); diff != "" {
			t.Errorf("%q (-parser +schema):\n%s", name, diff)
		}
		if def["additionalProperties"] != false {
			t.Errorf("%q lets other keys pass", name)
		}
	}
}

// The parser accepts every word that the schema offers, and offers no other word.
func TestSchemaWords(t *testing.T) {
	root := readSchema(t)
	tests := []struct {
		group, key, write string // write is what a file has for a word
		at                []string
	}{
		{"", "action", "action: WORD", []string{"properties", "action"}},
		{"", "rollback_action", "rollback_action: WORD", []string{"properties", "rollback_action"}},
		{"", "unmatched", "unmatched: WORD", []string{"properties", "unmatched", "anyOf", "0"}},
		{"environment", "network", "network: WORD", []string{"definitions", "environment", "properties", "network"}},
		{"environment", "announce", "announce: WORD", []string{"definitions", "environment", "properties", "announce"}},
		{"environment", "trigger", "trigger: WORD", []string{"definitions", "environment", "properties", "trigger", "anyOf", "0"}},
		{"verify", "late", "late: WORD", []string{"definitions", "verify", "properties", "late"}},
		{"test", "change", "change: WORD", []string{"definitions", "test", "properties", "change"}},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			i := slices.IndexFunc(groups(), func(g group) bool { return g.name == tt.group })
			g := groups()[i]
			var words []string
			for _, word := range root.at(tt.at...)["enum"].([]any) {
				words = append(words, word.(string))
				if got := messages(g, strings.Replace(tt.write, "WORD", word.(string), 1)); len(got) > 0 {
					t.Errorf("%s: %q", word, got)
				}
			}
			offered := strings.Join(messages(g, strings.Replace(tt.write, "WORD", "zzzzzzzzzz", 1)), "\n")
			for _, word := range regexp.MustCompile(`\{[^}]*\}|"[^"]*"|[a-z]+`).FindAllString(offered, -1) {
				if !strings.ContainsAny(word, `{"`) && !slices.Contains(words, word) &&
					!slices.Contains([]string{tt.key, "rollback", "action", "must", "be", "or", "not"}, word) {
					t.Errorf("the parser offers %s: %s", word, offered)
				}
			}
			for _, word := range words {
				if !strings.Contains(offered, word) {
					t.Errorf("the parser does not offer %s: %q", word, offered)
				}
			}
		})
	}
}

// The schema accepts every good file in the documentation.
func TestSchemaTakesGoodFiles(t *testing.T) {
	root := readSchema(t)
	good := codeBlocks(readDoc(t, rulesPage), "yaml")
	for _, pattern := range []string{"../docs/cookbook/*.yaml", "../purge-rules*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			good = append(good, readDoc(t, file))
		}
	}
	good = append(good,
		"version: 1\nenvironments: {p: }\nrules: []\nunmatched: {cpcodes: [1]}\n",
		"version: 1\nenvironments: {p: {settle: 1h30m, trigger: {check: a}}, q: {settle: 0}}\nrules: []\n",
		"version: 1\nenvironments: {p: {hosts: a.example, creators: bot}}\nrules: [{match: a, exclude: b, environments: p, urls: 'https://{host}/', tags: a, cpcodes: 1}]\ntests: [{file: a, purges: 'tag:a'}]\n",
		"version: 1\nextends: acme/.github\n")
	for _, src := range good {
		if err := root.check(t, decodeYAML(t, src)); err != nil {
			t.Errorf("%v in\n%s", err, src)
		}
		if _, faults := Parse([]byte(src)); faults.HasErrors() {
			t.Error(faults.In("good"))
		}
	}
}

// Everything that the schema refuses, the parser refuses too.
func TestSchemaRefusesNoMoreThanTheParser(t *testing.T) {
	root := readSchema(t)
	const env = "version: 1\nenvironments: "
	const head = env + "{p: {hosts: [a.example]}}\nrules: "
	for _, src := range []string{
		"version: 2\nenvironments: {p: {}}\nrules: []",
		"environments: {p: {}}\nrules: []",
		env + "{}\nrules: []",
		env + "{p: {hosts: ['']}}\nrules: []",
		env + "{p: {settle: 30}}\nrules: []",
		env + "{p: {settle: soon}}\nrules: []",
		env + "{p: {creators: []}}\nrules: []",
		env + "{p: {trigger: {}}}\nrules: []",
		env + "{p: {trigger: {status: a, check: b}}}\nrules: []",
		head + "{}",
		head + "[{tags: [a]}]",
		head + "[{match: a}]",
		head + "[{match: [], tags: [a]}]",
		head + "[{match: a, tags: []}]",
		head + "[{match: a, cpcodes: ['1']}]",
		head + "[{match: a, cpcodes: [0]}]",
		head + "[{match: a, tags: [a], environments: []}]",
		head + "[{match: " + strings.Repeat("a", 1001) + ", tags: [a]}]",
		head + "[]\nunmatched: {}",
		head + "[]\nunmatched: purge",
		head + "[]\nlimits: [{over: 1}]",
		head + "[]\nlimits: [{over: -1, instead: hold}]",
		head + "[]\nlimits: [{over: 1, instead: {urls: [a]}}]",
		head + "[]\nlimits: [{over: 1, instead: {}}]",
		head + "[]\ntests: [{file: a}]",
		head + "[]\ntests: [{file: a, purges: [a]}]",
		head + "[]\ntests: [{file: a, purges: [], change: renamed}]",
		"version: 1\nextends: acme",
		"version: 1\nenvironments: {p: {}}",
		env + "{p: {redeploy: {within: 30}}}\nrules: []",
		env + "{p: {redeploy: {purge: {}}}}\nrules: []",
		env + "{p: {announce_on_pull_request: 'yes'}}\nrules: []",
		env + "{p: {verify: {late: maybe}}}\nrules: []",
		env + "{p: {verify: {sample: 201}}}\nrules: []",
		env + "{p: {verify: {urls: []}}}\nrules: []",
		env + "{p: {warm: {concurrency: 0}}}\nrules: []",
		env + "{p: {warm: true}}\nrules: []",
	} {
		if err := root.check(t, decodeYAML(t, src)); err == nil {
			t.Errorf("the schema takes\n%s", src)
		}
		if _, faults := Parse([]byte(src)); !faults.HasErrors() {
			t.Errorf("the parser takes\n%s", src)
		}
	}
}

func decodeYAML(t *testing.T, src string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(src), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A schema is the JSON Schema as its file has it.
type schema map[string]any

// at follows keys, and numbers in lists.
func (s schema) at(keys ...string) schema {
	var v any = map[string]any(s)
	for _, key := range keys {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			v = x[key[0]-'0']
		}
	}
	return schema(v.(map[string]any))
}

// check compares a file with the schema. Beside a $ref, draft 7 ignores all other keys;
// editors and later drafts do not.
func (s schema) check(t *testing.T, v any) error {
	t.Helper()
	later := maps.Clone(s)
	later["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rules.json", map[string]any(later)); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(v)
}

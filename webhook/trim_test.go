package webhook

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzTrim: what trim takes for an object is one to encoding/json too, and it
// leaves out nothing but the named members; what it does not take is none, or
// nests deep.
func FuzzTrim(f *testing.F) {
	for _, body := range []string{
		`{}`, ` { "a" : [ ] , "b":{"c":-0.5e+10} }`, `{"commits":[{"id":"\u00e9\\\""}],"ref":"x","commits":null}`,
		`{"a":01}`, `{"a":1,}`, `{"a" 1}`, `{"a":[1 2]}`, `{"a":tru}`, `{"a":"\x"}`, "{\"a\":\"\n\"}", `{"a":1}}`, `[{}]`, `{"a":.5}`, `{"a":"\u00g0"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		trimmed, ok := trim(body, "commits", "head_commit")
		var all, rest map[string]json.RawMessage
		err := json.Unmarshal(body, &all)
		if !ok {
			if err == nil && all != nil && bytes.Count(body, []byte("{"))+bytes.Count(body, []byte("[")) < maxDepth {
				t.Fatalf("not taken: %q", body)
			}
			return
		}
		if err != nil {
			t.Fatalf("taken: %q: %v", body, err)
		}
		if err := json.Unmarshal(trimmed, &rest); err != nil {
			t.Fatalf("%q of %q: %v", trimmed, body, err)
		}
		delete(all, "commits")
		delete(all, "head_commit")
		if _, there := rest["commits"]; there && !bytes.Contains(body, []byte(`\`)) {
			t.Fatalf("%q of %q", trimmed, body)
		}
		delete(rest, "commits") // one that was spelt with escapes
		delete(rest, "head_commit")
		if !reflect.DeepEqual(all, rest) {
			t.Fatalf("%q of %q", trimmed, body)
		}
	})
}

func TestTrimBoundsItsDepth(t *testing.T) {
	deep := func(n int) []byte {
		return []byte(strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n))
	}
	if _, ok := trim(deep(1000)); !ok {
		t.Error("1,000 levels are not taken")
	}
	if _, ok := trim(deep(1_000_000)); ok {
		t.Error("a million levels are taken")
	}
}

package mapping

import (
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	const rules = `version: 1
environments:
  production: {hosts: [www.acme.com], branch: live}
  staging: {hosts: [staging.acme.com]}
rules:
  - match: "content/**"
    environments: [production]
    urls: ["https://{host}/{1}"]
    cpcodes: [12]
  - match: "*.txt"
    tags: ["{owner}-{repo}-{branch}-{name}"]
tests:
  - {file: content/a, purges: ["https://www.acme.com/a", "cpcode:12"]}
  - {file: content/a, environment: Staging, purges: []}
  - {file: content/a, change: removed, purges: ["cpcode:12", "https://www.acme.com/a"]}
  - {file: a.txt, purges: ["tag:acme-site-live-a"]}
  - {file: a.txt, environment: staging, purges: ["tag:acme-site-main-a"]}
  - {file: purge-rules.yaml, purges: []}
  - {file: other, purges: []}

  - {file: content/a, purges: ["https://www.acme.com/b", "cpcode:12"]}
  - {file: content/a, purges: []}
  - {file: other, purges: ["tag:x", "tag:y"]}
  - file: a b.txt
    change: added
    purges: ["tag:acme-site-live-a b"]
`
	want := `R:21:5: content/a, modified in production: doesn't purge https://www.acme.com/b, which the test expects; also purges https://www.acme.com/a, which the test doesn't list
R:22:5: content/a, modified in production: also purges cpcode:12 and https://www.acme.com/a, which the test doesn't list
R:23:5: other, modified in production: doesn't purge tag:x and tag:y, which the test expects
R:24:5: a b.txt, added in production: "tag:acme-site-live-a b" can't be sent (the tag can't hold a space: letters, digits and &'^-$!` + "`" + `#%.+~_|/ are allowed); doesn't purge tag:acme-site-live-a b, which the test expects
`
	if diff := cmp.Diff(want, mustParse(t, rules).Check(t.Context(), "acme", "site", "main").In("R")); diff != "" {
		t.Errorf("faults of tests (-want +got):\n%s", diff)
	}
}

// TestExample: the example that people copy has no fault, not even a warning, and its
// tests pass.
func TestExample(t *testing.T) {
	src, err := os.ReadFile("../purge-rules.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, faults := Parse(src)
	if len(faults) > 0 {
		t.Fatalf("the example has faults:\n%s", faults.In("purge-rules.example.yaml"))
	}
	if len(file.tests) < 5 {
		t.Errorf("the example has %d tests", len(file.tests))
	}
	if faults := file.Check(t.Context(), "acme", "site", "main"); len(faults) > 0 {
		t.Errorf("the example's tests fail:\n%s", faults.In("purge-rules.example.yaml"))
	}
}

// FuzzParse: no file makes Parse panic or hang. Every fault has words and a place in the
// file. A file without errors can be planned with.
func FuzzParse(f *testing.F) {
	f.Add([]byte(acme))
	f.Add([]byte("a: &a [*a, {? b : c}]\n--- |\n x\n"))
	f.Add([]byte("\ufeffversion: 1\r\nrules: [{match: \"{a,{b,c}}**/[!x]\", urls: ['https://{host}/{1}']}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		defer noHang(strconv.Quote(string(src)))()
		file, faults := Parse(src)
		if (file == nil) != faults.HasErrors() {
			t.Fatalf("file given: %v, faults:\n%s", file != nil, faults.In("f"))
		}
		last := 0
		for _, fault := range faults {
			if fault.Line < max(last, 1) || fault.Column < 1 || fault.Message == "" || fault.Severity == "" {
				t.Errorf("fault %+v", fault)
			}
			last = fault.Line
		}
		if file == nil {
			return
		}
		file.Check(t.Context(), "o", "r", "main")
		for _, e := range file.Environments() {
			if _, err := file.Plan(t.Context(), Query{Environment: e.Key}); err != nil {
				t.Errorf("plan %q: %v", e.Key, err)
			}
		}
	})
}

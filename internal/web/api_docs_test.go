package web

import (
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/purgebot/purgebot/internal/metrics"
	"github.com/purgebot/purgebot/internal/pipeline"
)

type apiPage struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Required   []string       `yaml:"required"`
			Properties map[string]any `yaml:"properties"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

// docs/openapi.yaml has every operation and every field, and no other.
func TestAPIsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var page apiPage
	if err := yaml.Unmarshal(text, &page); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range new(Web).operations() {
		want = append(want, strings.ToLower(r.method)+" "+r.path)
	}
	for path, item := range page.Paths {
		for method := range item {
			if method != "parameters" {
				got = append(got, method+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-code +page):\n%s", diff)
	}

	docs := map[string]reflect.Type{}
	for _, doc := range []any{Status{}, Queue{}, PurgeDetail{}, Acted{}, Failed{}, Replayed{}, Pauses{}, PauseAsk{}, ResumeAsk{}, Ask{}, Problem{}} {
		documents(reflect.TypeOf(doc), docs)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(docs)), slices.Sorted(maps.Keys(page.Components.Schemas))); diff != "" {
		t.Errorf("schemas (-code +page):\n%s", diff)
	}
	for name, doc := range docs {
		all, required := fieldsOf(doc)
		if name == "Ask" {
			required = nil // a client may leave all of them out
		}
		schema := page.Components.Schemas[name]
		if diff := cmp.Diff(all, slices.Sorted(maps.Keys(schema.Properties))); diff != "" {
			t.Errorf("fields of %s (-code +page):\n%s", name, diff)
		}
		slices.Sort(schema.Required)
		if diff := cmp.Diff(required, schema.Required); diff != "" {
			t.Errorf("required fields of %s (-code +page):\n%s", name, diff)
		}
	}
}

// documents collects the type of a document and the types of its fields.
func documents(doc reflect.Type, into map[string]reflect.Type) {
	for doc.Kind() == reflect.Slice || doc.Kind() == reflect.Pointer {
		doc = doc.Elem()
	}
	if doc.Kind() != reflect.Struct || doc == reflect.TypeFor[time.Time]() {
		return
	}
	into[doc.Name()] = doc
	for field := range doc.Fields() {
		documents(field.Type, into)
	}
}

// fieldsOf are a document's JSON names, and those that are never left out.
func fieldsOf(doc reflect.Type) (all, required []string) {
	for field := range doc.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, name)
		if options != "omitzero" {
			required = append(required, name)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	return all, required
}

// docs/operations.md names only metrics that exist.
func TestOperationsPageNamesMetrics(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	s := serveAPI(t, apiSecret)
	_, got := s.call(http.MethodGet, "/metrics", "")
	told := make(chan *prometheus.Desc, 100) // those of the pipeline show once there is something to tell
	for _, c := range append(pipeline.New(pipeline.Config{}).Metrics(), metrics.ReloadOK()) {
		c.Describe(told)
	}
	close(told)
	for d := range told {
		got += "\n" + regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1] + " "
	}
	named := regexp.MustCompile(`purgebot_[a-z_]+`).FindAllString(string(text), -1)
	if len(named) == 0 {
		t.Error("the page names no metric")
	}
	for _, name := range named {
		if !strings.Contains(got, "\n"+name+" ") && !strings.Contains(got, "\n"+name+"{") {
			t.Errorf("there is no metric %s", name)
		}
	}
}

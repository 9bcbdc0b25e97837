package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/generator"
	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// oddNames are names that people give their pages.
var oddNames = []string{
	"plain", "UPPER Case", "two  spaces", "über uns", "Straße", "Zürich – Genève", "a & b", "c+d", "it's", "(in parentheses)", "x, y",
	"a.b.c", "under_score", "2026", "2026-11-29-a date", "01-numbered", "e\u0301 in two", "中文 页", "Ελλάδα", "100 per cent",
}

// TestGenerators builds sites with the real generators. It compares the output with the
// rules of the cookbook and of purgebot rules init: they must find each page's address.
func TestGenerators(t *testing.T) {
	const page = "---\ntitle: A page\n---\ntext\n"
	hugo := map[string]string{
		"layouts/_default/single.html": "{{ .Content }}", "layouts/_default/list.html": "list", "layouts/index.html": "home",
	}
	for _, c := range []struct {
		name, rules string
		build       []string // the command; the folder that it builds
		built       string
		files       map[string]string
		pages       func(name string) []string // files called name
		except      []string                   // names whose address a rule can't know
		nobody      []string                   // pages that no file makes
	}{
		{
			name: "Hugo", rules: "hugo.yaml", build: []string{"hugo", "--quiet"}, built: "public",
			files: with(hugo, map[string]string{"config.toml": "baseURL = \"https://www.example.com/\"\n", "content/posts/_index.md": page}),
			pages: func(name string) []string {
				return []string{"content/posts/" + name + ".md", "content/A Section/" + name + "/A Bundle/index.md", "content/A Section/" + name + "/A Bundle/A Picture.txt"}
			},
			nobody: []string{"/categories/", "/tags/"},
		},
		{
			name: "Hugo in languages", rules: "hugo-languages.yaml", build: []string{"hugo", "--quiet"}, built: "public",
			files: with(hugo, map[string]string{"config.toml": "baseURL = \"https://www.example.com/\"\n" +
				"defaultContentLanguage = \"en\"\n[languages.en]\ncontentDir = \"content/en\"\n[languages.de]\ncontentDir = \"content/de\"\n[languages.fr]\ncontentDir = \"content/fr\"\n"}),
			pages: func(name string) []string {
				return []string{"content/en/posts/" + name + ".md", "content/de/posts/" + name + ".md", "content/fr/posts/" + name + "/index.md"}
			},
			nobody: []string{
				"/categories/", "/tags/", "/posts/", "/de/categories/", "/de/tags/", "/de/posts/", "/fr/categories/", "/fr/tags/", "/fr/posts/", "/en/", // which leads to /
			},
		},
		{
			name: "Jekyll", rules: "jekyll.yaml", build: []string{"jekyll", "build", "--quiet"}, built: "_site",
			files: map[string]string{"_config.yml": "title: A site\n", "index.md": page, "Guides/index.md": page},
			pages: func(name string) []string {
				return []string{"_posts/2026-11-22-" + name + ".md", "Guides/" + name + ".md"}
			},
			// Jekyll takes more out of a post's name than white space.
			except: []string{"Zürich – Genève", "(in parentheses)"},
		},
		{
			name: "MkDocs", rules: "mkdocs.yaml", build: []string{"mkdocs", "build", "--quiet"}, built: "site",
			files: map[string]string{"mkdocs.yml": "site_name: A site\nsite_url: https://docs.example.com/\n", "docs/index.md": page, "docs/A Picture.txt": "x"},
			pages: func(name string) []string {
				return []string{"docs/" + name + ".md", "docs/A Guide/" + name + "/README.md"}
			},
			nobody: []string{"/404.html"},
		},
		{
			name: "Hugo with addresses of its own", build: []string{"hugo", "--quiet"}, built: "public",
			files: with(hugo, map[string]string{
				"config.toml": "baseURL = \"https://www.example.com/docs/\"\ndisableKinds = [\"taxonomy\", \"term\"]\n" +
					"[uglyURLs]\nnews = true\n[permalinks]\nnews = \"/:year/:month/:day/:slug/\"\n",
				"content/posts/a.md":                "---\ntitle: A\nslug: An Other Name\n---\ntext\n",
				"content/posts/b/index.md":          "---\ntitle: B\nslug: of-a-bundle\n---\ntext\n",
				"content/posts/c.md":                "---\ntitle: C\nurl: /quite/elsewhere/\n---\ntext\n",
				"content/news/_index.md":            page,
				"content/news/2026-1-2-short.md":    "---\ntitle: D\ndate: 2026-01-02\nslug: short\n---\ntext\n",
				"content/news/2026-11-22-Titled.md": "---\ntitle: An Other Title\ndate: 2026-11-22\n---\ntext\n",
				"content/news/2026-11-23-slug.md":   "---\ntitle: E\ndate: 2026-11-23\nslug: slug\n---\ntext\n",
				"static/robots.txt":                 "x", "content/.gitkeep": "",
			}),
			pages:  func(name string) []string { return []string{"content/posts/" + name + ".md"} },
			nobody: []string{"/posts/"}, // a list of all
		},
		{
			name: "Jekyll with addresses of its own", build: []string{"jekyll", "build", "--quiet"}, built: "_site",
			files: map[string]string{
				"_config.yml": "title: A site\nurl: https://www.example.com\nbaseurl: /docs\npermalink: pretty\ntimezone: UTC\n" +
					"collections:\n  recipes:\n    output: true\n  notes:\n    output: true\n    permalink: /of/:collection/:path/\nexclude: [README.md, tools]\n",
				"index.md": page, "README.md": "text\n", "tools/a.md": page, "about.md": page, "copied.md": "no front matter\n", "css/main.scss": "---\n---\na{b:c}\n", "img/a.png": "x",
				"_recipes/soup.md": page, "_recipes/cakes/tart.md": page, "_notes/deep/one.md": page,
				"moved.md":                     "---\npermalink: /quite/elsewhere/\n---\n",
				"_posts/2026-11-22-dated.md":   "---\ndate: 2026-11-21 23:00:00 -0200\n---\n",
				"_posts/2026-11-21-of.md":      "---\ncategories: [Big News]\n---\n",
				"blog/_posts/2026-11-20-of.md": page,
			},
			pages: func(name string) []string { return []string{"Guides/" + name + ".md"} },
		},
		{
			name: "MkDocs without folders", build: []string{"mkdocs", "build", "--quiet"}, built: "site",
			files: map[string]string{
				"mkdocs.yml": "site_name: A site\nsite_url: https://docs.example.com/a/\ndocs_dir: text\nuse_directory_urls: false\n" +
					"extra:\n  key: !ENV [KEY, x]\n", "text/index.md": page, "text/.hidden/a.md": page,
			},
			pages:  func(name string) []string { return []string{"text/A Guide/" + name + ".md"} },
			nobody: []string{"/404.html"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			installed(t, c.build[0])
			dir := t.TempDir()
			files := maps.Clone(c.files)
			for _, name := range oddNames {
				if slices.Contains(c.except, name) {
					continue
				}
				for _, file := range c.pages(name) {
					files[file] = page
				}
			}
			for name, text := range files {
				write(t, filepath.Join(dir, filepath.FromSlash(name)), text)
			}
			runIn(t, dir, "git", "init", "-q", "-b", "main")
			runIn(t, dir, "git", "add", "-A")
			runIn(t, dir, "git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one")
			runIn(t, dir, c.build[0], c.build[1:]...)

			built, err := builtDir(filepath.Join(dir, c.built))
			if err != nil {
				t.Fatal(err)
			}
			site := siteOf(t, dir)
			rules := map[string]string{"purgebot rules init": site.text}
			if c.rules != "" {
				recipe, err := os.ReadFile("../../docs/cookbook/" + c.rules)
				if err != nil {
					t.Fatal(err)
				}
				rules["the cookbook"] = string(recipe)
			}
			for by, text := range rules {
				file, faults := mapping.Parse([]byte(text))
				if file == nil {
					t.Fatalf("%s: %s\n%s", by, faults.In(c.rules), text)
				}
				if by == "purgebot rules init" {
					_, warnings, err := file.Reach(t.Context(), slices.Values(site.files))
					if warnings = append(warnings, file.Check(t.Context(), "owner", "repo", "main")...); err != nil || len(warnings) > 0 {
						t.Errorf("%s: %v %s", by, err, warnings.In("the file"))
					}
				}
				s, err := newSite(t.Context(), git.Clone{Dir: dir}, file, "", "acme/site")
				if err != nil {
					t.Fatal(err)
				}
				got, err := holdAgainst(t.Context(), s, built)
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Missing) > 0 || got.Mapped < len(oddNames)*len(c.pages("x"))-len(c.except)*2 {
					t.Errorf("%s: %s", by, got.text())
				}
				left := slices.DeleteFunc(got.Unreached, func(page string) bool { return slices.Contains(c.nobody, page) })
				if len(left) > 0 {
					t.Errorf("%s: no file leads to %v", by, left)
				}
			}
		})
	}
}

type initialised struct {
	files []string
	text  string
}

// siteOf writes rules as purgebot rules init does.
func siteOf(t *testing.T, dir string) initialised {
	t.Helper()
	files, err := git.Clone{Dir: dir}.Files(t.Context(), "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	text, err := generator.Recognise(os.DirFS(dir), files).Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return initialised{files, text}
}

// installed skips the test if a generator is not installed. It fails instead if
// PURGEBOT_TEST_GENERATORS is set, as in CI.
func installed(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("PURGEBOT_TEST_GENERATORS") != "":
		t.Fatalf("%s is not installed, and PURGEBOT_TEST_GENERATORS says that it is", name)
	default:
		t.Skipf("%s is not installed (Debian: apt-get install hugo jekyll mkdocs)", name)
	}
}

func runIn(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HUGO_CACHEDIR="+filepath.Join(dir, ".cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func with(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

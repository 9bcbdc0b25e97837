package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// build is what this program was built from.
type build struct {
	Version  string `json:"version"` // of the module, or "devel" for a checkout
	Commit   string `json:"commit"`  // "" where none was recorded; ends in -dirty if files were changed
	Date     string `json:"date"`    // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"` // as linux/amd64
}

// thisBuild reads what Go recorded when it built the program. No linker flag sets
// anything, so a plain "go install" knows its version too.
func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.time":
			b.Date = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if b.Commit != "" {
		b.Commit += dirty
	}
	return b
}

// userAgent names the program in requests to GitHub, Akamai and origins.
func userAgent() string {
	return "purgebot/" + thisBuild().Version + " (+https://github.com/purgebot/purgebot)"
}

// attrs are the build's fields for the log.
func (b build) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("version", b.Version), slog.String("commit", b.Commit),
		slog.String("go", b.Go), slog.String("platform", b.Platform),
	}
}

// String is the build on one line; it shortens the commit to 12 characters.
func (b build) String() string {
	words := "purgebot " + b.Version
	if b.Commit != "" {
		words += fmt.Sprintf(" (%s, %s)", b.Commit[:min(len(b.Commit), 12)], b.Date)
	}
	return words + ", " + b.Go + ", " + b.Platform
}

// versionCmd is purgebot version.
type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the build to standard output.
func (c *versionCmd) Run(std streams) error {
	if c.JSON {
		return printJSON(std.out, thisBuild())
	}
	fmt.Fprintln(std.out, thisBuild())
	return nil
}

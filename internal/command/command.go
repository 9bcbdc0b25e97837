// Package command reads what people write to purgebot in a comment on a pull
// request. It is pure: it asks nobody, and what it gives is bounded whatever
// was written.
//
//	/purge                              everything this pull request changed
//	/purge https://www.acme.com/a/ …    these URLs
//	/purge /a/                          this page of the environment's host
//	/purge content/docs/**              what these files map to
//	/purge tag:product-7 cpcode:12345   tags, CP codes
//	      --env staging  --delete  --dry-run
//	/purge retry | release | cancel | status | help
package command

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/object"
)

// Verb is what a command asks for.
type Verb string

// The verbs.
const (
	Purge   Verb = "purge" // "/purge" with objects, or alone
	Retry   Verb = "retry"
	Release Verb = "release"
	Cancel  Verb = "cancel"
	Status  Verb = "status"
	Help    Verb = "help"
)

// Command is one command. With the verb Purge and neither paths, pages nor
// objects it means everything that the pull request changed.
type Command struct {
	Verb    Verb
	Paths   []string // globs of files, or files' names; each compiles
	Pages   []string // begin with a slash: files from the repository's root, or pages of the environment's host
	Objects []Object // named directly
	Env     string   // "": not said
	Delete  bool
	DryRun  bool

	// Unread is what is below the command and looks as if it were meant to be
	// part of it, the first MaxUnread of it: nothing of it counts.
	Unread []string
}

// Everything reports whether the command means all that its pull request
// changed.
func (c Command) Everything() bool {
	return c.Verb == Purge && len(c.Paths) == 0 && len(c.Pages) == 0 && len(c.Objects) == 0
}

// Object is an object that was named directly.
type Object struct {
	Kind  object.Kind
	Value string // a URL as a browser requests it, a tag, a CP code in decimal
}

// The bounds of one command.
const (
	MaxObjects = 500
	MaxPaths   = 50 // and pages
	MaxUnread  = 5
	maxPath    = 500 // bytes of one page's address, as of a glob
	maxEnv     = 255
)

// ErrNone says that a comment holds no command: it is none of ours, and
// deserves no answer.
var ErrNone = errors.New("no command")

// Error is a command that can't be understood.
type Error struct {
	What    string // what is wrong; it quotes the comment: see report.Quote
	Nearest string // what may have been meant, as "/purge retry"; "": it can't be guessed
}

func (e *Error) Error() string { return e.Public() }

// Public gives the words for the person who wrote the command.
func (e *Error) Public() string {
	if e.Nearest == "" {
		return e.What
	}
	return e.What + "; did you mean " + e.Nearest + "?"
}

// Parse reads the command that a comment begins with: its first line, and
// directly below it the lines that hold nothing but targets. ErrNone: the
// comment does not begin with the word /purge, in small letters or capitals,
// so that code, quotes and talk about the command are none. Every other error
// is an *Error.
func Parse(body string) (Command, error) {
	first, below, _ := strings.Cut(body, "\n")
	rest, ok := cutWord(first)
	if !ok {
		return Command{}, ErrNone
	}
	p := parser{}
	var err error
	if p.words, err = split(rest); err != nil {
		return Command{}, err
	}
	for p.at < len(p.words) {
		if err := p.word(p.next()); err != nil {
			return Command{}, err
		}
	}
	if p.c.Verb == "" {
		if below, err = p.list(below); err != nil {
			return Command{}, err
		}
	}
	p.c.Unread = unread(below)
	return p.finish()
}

// cutWord cuts the word /purge off a line.
func cutWord(line string) (rest string, ok bool) {
	const word = "/purge"
	if len(line) < len(word) || !strings.EqualFold(line[:len(word)], word) {
		return "", false
	}
	rest = line[len(word):]
	if after := strings.TrimLeft(rest, ",;:"); len(rest)-len(after) == 1 {
		rest = after // "/purge: https://…"
	}
	next, _ := utf8.DecodeRuneInString(rest)
	return rest, rest == "" || unicode.IsSpace(next)
}

type parser struct {
	words []string
	at    int // of the next word
	c     Command
	first string // the first target, after which no verb comes
}

func (p *parser) next() string {
	p.at++
	return p.words[p.at-1]
}

// list reads the lines that hold nothing but targets, and gives what is below.
func (p *parser) list(below string) (rest string, err error) {
	for below != "" {
		line, rest, _ := strings.Cut(below, "\n")
		words, ok := targets(line)
		if !ok {
			return below, nil
		}
		p.words = append(p.words, words...)
		for p.at < len(p.words) {
			if err := p.target(p.next()); err != nil {
				return "", err
			}
		}
		below = rest
	}
	return "", nil
}

// instead is the command with another word in the place of the last one that
// was read.
func (p *parser) instead(word string) string {
	const most = 300 // bytes; more is no help
	words := slices.Concat(p.words[:p.at-1], []string{word}, p.words[p.at:])
	for i, w := range words {
		if i != p.at-1 && strings.ContainsFunc(w, unicode.IsSpace) {
			words[i] = `"` + w + `"`
		}
	}
	if all := "/purge " + strings.Join(words, " "); len(all) <= most {
		return all
	}
	return "/purge " + word
}

func (p *parser) word(word string) error {
	switch {
	case word == "":
		return &Error{What: "a word is empty"}
	case isFlag(word):
		return p.flag(word)
	case p.c.Verb == "" && p.first == "":
		if verb, ok := verbOf(word); ok {
			p.c.Verb = verb
			return nil
		}
		if near := nearestVerb(word); near != "" {
			return &Error{What: "Unknown command " + word, Nearest: "/purge " + near}
		}
	case p.c.Verb != "":
		return &Error{What: string(p.c.Verb) + " takes no arguments", Nearest: "/purge " + string(p.c.Verb)}
	}
	return p.target(word)
}

// target takes a URL, a tag, a CP code, or else a page or a path.
func (p *parser) target(word string) error {
	if p.first == "" {
		p.first = word
	}
	scheme, rest, colon := strings.Cut(word, ":")
	prefix := strings.ToLower(scheme)
	switch {
	case colon && (prefix == "http" || prefix == "https"):
		return p.url(word)
	case colon && strings.HasPrefix(rest, "//"):
		return &Error{What: "Akamai purges http and https URLs, not " + word, Nearest: p.instead("https:" + rest)}
	case strings.HasPrefix(word, "//"):
		return &Error{What: word + " is not a URL", Nearest: p.instead("https:" + word)}
	case colon && prefix == "tag":
		if rest == "" {
			return &Error{What: "tag: needs a tag, as tag:NAME"}
		}
		return p.add(Object{object.Tag, rest})
	case colon && prefix == "cpcode":
		code := strings.TrimLeft(rest, "0")
		if code == "" || len(code) > 18 || strings.Trim(code, "0123456789") != "" {
			return &Error{What: rest + " is not a CP code, which is a number: cpcode:NUMBER"}
		}
		return p.add(Object{object.CPCode, code})
	case colon && nearestPrefix(prefix) != "":
		return &Error{What: "Unknown kind " + scheme + ":", Nearest: p.instead(nearestPrefix(prefix) + ":" + rest)}
	default:
		return p.path(word)
	}
}

func (p *parser) url(word string) error {
	url, mistake := browserURL(word)
	if mistake != nil {
		if slashless := strings.TrimLeft(word[strings.IndexByte(word, ':')+1:], "/"); slashless != "" && !strings.Contains(word, "://") {
			mistake.Nearest = p.instead(word[:strings.IndexByte(word, ':')] + "://" + slashless)
		}
		return mistake
	}
	if path, _, _ := strings.Cut(url, "?"); strings.Contains(path, "*") {
		return &Error{What: "Akamai purges exactly the URL that is written, so a * in " + word +
			" purges nothing: name each page, or a tag (tag:NAME), or files, in which * works"}
	}
	return p.add(Object{object.URL, url})
}

func (p *parser) add(o Object) error {
	if slices.Contains(p.c.Objects, o) {
		return nil
	}
	if len(p.c.Objects) == MaxObjects {
		return &Error{What: "one command names at most 500 URLs, tags and CP codes: use a tag, or files"}
	}
	p.c.Objects = append(p.c.Objects, o)
	return nil
}

// path takes a file's name or a glob, from the repository's root. What begins
// with a slash may be a page as well.
func (p *parser) path(word string) error {
	pattern := strings.TrimLeft(strings.TrimPrefix(word, "."), "/")
	rooted := strings.HasPrefix(word, "/")
	if !strings.HasPrefix(word, "./") && !rooted {
		pattern = word
	}
	page := rooted && !strings.ContainsAny(word, "*?[{")
	switch {
	case len(p.c.Paths)+len(p.c.Pages) == MaxPaths:
		return &Error{What: "one command names at most 50 files, patterns and pages: use a wider pattern, as folder/**"}
	case page && len(word) <= maxPath:
		p.c.Pages = append(p.c.Pages, word)
		return nil
	case pattern == "":
		return &Error{What: word + " names no file", Nearest: p.instead("**")}
	}
	if _, err := glob.Compile(pattern); err != nil {
		return &Error{What: "the pattern " + cut(word) + " " + err.Error()}
	}
	p.c.Paths = append(p.c.Paths, pattern)
	return nil
}

// cut leaves room for what is wrong behind a long word.
func cut(word string) string {
	const most = 40
	if utf8.RuneCountInString(word) > most {
		return string([]rune(word)[:most]) + "…"
	}
	return word
}

// isFlag takes the dashes that telephones make of two hyphens, too.
func isFlag(word string) bool {
	return strings.HasPrefix(word, "-") || strings.HasPrefix(word, "—") || strings.HasPrefix(word, "–")
}

// flag takes a word that begins with "-". Phones write one long dash for two short
// ones.
func (p *parser) flag(word string) error {
	name, value, assigned := strings.Cut(strings.TrimLeft(word, "-—–"), "=")
	switch name = strings.ToLower(name); {
	case name == "env":
		if !assigned && p.at < len(p.words) {
			value = p.next()
		}
		if value == "" || isFlag(value) || len(value) > maxEnv {
			return &Error{What: "--env needs the name of an environment"}
		}
		if p.c.Env != "" && !strings.EqualFold(p.c.Env, value) {
			return &Error{What: "one command purges one environment: post one command for each"}
		}
		p.c.Env = value
	case name == "delete" && !assigned:
		p.c.Delete = true
	case name == "dry-run" && !assigned:
		p.c.DryRun = true
	default:
		option := "--" + closest(name, []string{"env", "delete", "dry-run"})
		if assigned && option == "--env" {
			option += "=" + value
		}
		return &Error{What: "Unknown option " + word, Nearest: p.instead(option)}
	}
	return nil
}

func (p *parser) finish() (Command, error) {
	if p.c.Verb == "" {
		p.c.Verb = Purge
	}
	if p.c.Verb != Purge && (p.c.Delete || p.c.DryRun) {
		return Command{}, &Error{
			What:    string(p.c.Verb) + " takes neither --delete nor --dry-run",
			Nearest: "/purge " + string(p.c.Verb),
		}
	}
	return p.c, nil
}

// Package command reads what people write to purgebot in a comment on a pull
// request. It is pure: it asks nobody, and what it gives is bounded whatever
// was written.
//
//	/purge                              everything this pull request changed
//	/purge https://www.acme.com/a/ …    these URLs
//	/purge content/docs/**              what these files map to
//	/purge tag:product-7 cpcode:12345   tags, CP codes
//	      --env staging  --delete  --dry-run
//	/purge retry | release | cancel | status | help
package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
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

// Command is one command. With the verb Purge and neither paths nor objects
// it means everything that the pull request changed.
type Command struct {
	Verb    Verb
	Paths   []string // globs of files, or files' names
	Objects []Object // named directly
	Env     string   // "": not said
	Delete  bool
	DryRun  bool
}

// Everything reports whether the command means all that its pull request
// changed.
func (c Command) Everything() bool {
	return c.Verb == Purge && len(c.Paths) == 0 && len(c.Objects) == 0
}

// URLs lists the URLs that were named directly.
func (c Command) URLs() (urls []string) {
	for _, o := range c.Objects {
		if o.Kind == URL {
			urls = append(urls, o.Value)
		}
	}
	return urls
}

// Kind is the kind of an object, as Akamai names it.
type Kind string

// The kinds of object.
const (
	URL    Kind = "url"
	Tag    Kind = "tag"
	CPCode Kind = "cpcode"
)

// Object is an object that was named directly.
type Object struct {
	Kind  Kind
	Value string // a URL as a browser requests it, a tag, a CP code in decimal
}

// The bounds of one command.
const (
	MaxObjects = 500
	MaxPaths   = 50
	maxPath    = 512 // bytes of one glob
	maxBraces  = 4   // {a,b} in one glob: each multiplies the work
	maxEnv     = 255
)

// ErrNone says that a comment holds no command: it is none of ours, and
// deserves no answer.
var ErrNone = errors.New("no command")

// Error is a command that can't be understood.
type Error struct {
	What    string // what is wrong; it quotes the comment: see report.Quote
	Nearest string // the nearest valid command, as "/purge retry"
}

func (e *Error) Error() string { return e.Public() }

// Public gives the words for whoever wrote the command.
func (e *Error) Public() string { return e.What + "; did you mean " + e.Nearest + "?" }

// Parse reads the first line of a comment. ErrNone: it does not begin with
// the word /purge, so that code, quotes and talk about the command are none.
// Every other error is an *Error.
func Parse(body string) (Command, error) {
	line, _, _ := strings.Cut(body, "\n")
	rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r"), "/purge")
	if !ok || rest != "" && strings.TrimLeft(rest[:1], " \t") != "" {
		return Command{}, ErrNone
	}
	words, err := split(rest)
	if err != nil {
		return Command{}, err
	}
	p := parser{words: words}
	for len(p.words) > 0 {
		if err := p.word(p.next()); err != nil {
			return Command{}, err
		}
	}
	return p.finish()
}

// split cuts a line into words at white space; quotes, single or double, keep
// a word with spaces together.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, begun := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case (r == '"' || r == '\'') && (!begun || word.String() == "--env="):
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\r' || r == '\v' || r == '\f' || r == '\u00a0':
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, &Error{What: "a quote is not closed", Nearest: `/purge "content/my file.md"`}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

type parser struct {
	words []string
	c     Command
	first string // the first path or object, for the words of a mistake
}

func (p *parser) next() string {
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

func (p *parser) word(word string) error {
	switch {
	case word == "":
		return &Error{What: "a word is empty", Nearest: "/purge help"}
	case isFlag(word):
		return p.flag(word)
	case p.c.Verb == "" && p.first == "":
		if verb, ok := verbOf(word); ok {
			p.c.Verb = verb
			return nil
		}
		if near := nearestVerb(word); near != "" {
			return &Error{What: "purgebot does not know " + word, Nearest: "/purge " + near}
		}
	case p.c.Verb != "":
		return &Error{What: string(p.c.Verb) + " takes no " + word, Nearest: "/purge " + string(p.c.Verb)}
	}
	if p.first == "" {
		p.first = word
	}
	return p.object(word)
}

// object takes a URL, a tag, a CP code, or else a path.
func (p *parser) object(word string) error {
	scheme, rest, colon := strings.Cut(word, ":")
	prefix := strings.ToLower(scheme)
	switch {
	case colon && (prefix == "http" || prefix == "https"):
		url, mistake := browserURL(word)
		if mistake != nil {
			return mistake
		}
		return p.add(Object{URL, url})
	case colon && strings.HasPrefix(rest, "//"):
		return &Error{What: "Akamai purges http and https URLs, not " + word, Nearest: "/purge https:" + rest}
	case colon && prefix == "tag":
		if rest == "" {
			return &Error{What: "tag: lacks the tag", Nearest: "/purge tag:product-7"}
		}
		return p.add(Object{Tag, rest})
	case colon && prefix == "cpcode":
		code := strings.TrimLeft(rest, "0")
		if code == "" || len(code) > 18 || strings.Trim(code, "0123456789") != "" {
			return &Error{What: rest + " is not a CP code", Nearest: "/purge cpcode:12345"}
		}
		return p.add(Object{CPCode, code})
	case colon && nearestPrefix(prefix) != "":
		return &Error{What: "purgebot does not know " + scheme + ":", Nearest: "/purge " + nearestPrefix(prefix) + ":" + rest}
	default:
		return p.path(word)
	}
}

func (p *parser) add(o Object) error {
	if slices.Contains(p.c.Objects, o) {
		return nil
	}
	if len(p.c.Objects) == MaxObjects {
		return &Error{What: "one comment names at most 500 objects", Nearest: "/purge content/docs/**"}
	}
	p.c.Objects = append(p.c.Objects, o)
	return nil
}

// path takes a file's name or a glob, from the repository's root.
func (p *parser) path(word string) error {
	glob := strings.TrimLeft(strings.TrimPrefix(word, "."), "/")
	if !strings.HasPrefix(word, "./") && !strings.HasPrefix(word, "/") {
		glob = word
	}
	switch {
	case glob == "":
		return &Error{What: word + " names no file", Nearest: "/purge **"}
	case len(glob) > maxPath || strings.Count(glob, "{") > maxBraces || strings.Count(glob, "*") > 4*maxBraces:
		return &Error{What: "the pattern is too long or has too many wildcards", Nearest: "/purge content/docs/**"}
	case !doublestar.ValidatePattern(glob):
		return &Error{What: word + " is not a pattern of files", Nearest: "/purge content/docs/**"}
	case len(p.c.Paths) == MaxPaths:
		return &Error{What: "one comment names at most 50 patterns of files", Nearest: "/purge content/docs/**"}
	}
	p.c.Paths = append(p.c.Paths, glob)
	return nil
}

// isFlag takes the dashes that telephones make of two hyphens, too.
func isFlag(word string) bool {
	return strings.HasPrefix(word, "-") || strings.HasPrefix(word, "—") || strings.HasPrefix(word, "–")
}

func (p *parser) flag(word string) error {
	name, value, assigned := strings.Cut(strings.TrimLeft(word, "-—–"), "=")
	switch {
	case name == "env":
		if !assigned {
			if len(p.words) == 0 {
				return &Error{What: "--env lacks the environment", Nearest: "/purge --env production"}
			}
			value = p.next()
		}
		if value == "" || isFlag(value) || len(value) > maxEnv {
			return &Error{What: "--env lacks the environment", Nearest: "/purge --env production"}
		}
		if p.c.Env != "" && !strings.EqualFold(p.c.Env, value) {
			return &Error{What: "one comment purges one environment", Nearest: "/purge --env " + p.c.Env}
		}
		p.c.Env = value
	case name == "delete" && !assigned:
		p.c.Delete = true
	case name == "dry-run" && !assigned:
		p.c.DryRun = true
	default:
		return &Error{What: "purgebot does not know " + word, Nearest: "/purge --" + nearest(name, []string{"env NAME", "delete", "dry-run"})}
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

// Package command reads what people write to purgebot in a comment on a pull request. It
// is pure: it asks nobody. What it returns is bounded, whatever the comment holds.
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

// Command is one command. If the verb is Purge and there are neither paths, pages nor
// objects, it means everything that the pull request changed.
type Command struct {
	Verb    Verb
	Paths   []string // globs, or names of files; each compiles as a glob
	Pages   []string // each begins with a slash: a file from the repository's root, or a page of the environment's host
	Objects []Object // URLs, tags and CP codes
	Env     string   // "": not named
	Delete  bool
	DryRun  bool

	// Unread is what stands below the command and looks like a part of it, the first
	// MaxUnread of it. It has no effect; the reply says so.
	Unread []string
}

// Everything reports whether the command means all that its pull request changed.
func (c Command) Everything() bool {
	return c.Verb == Purge && len(c.Paths) == 0 && len(c.Pages) == 0 && len(c.Objects) == 0
}

// Object is an object that was named directly.
type Object struct {
	Kind  object.Kind
	Value string // a URL as a browser requests it, a tag, a CP code in decimal
}

// The bounds of one command. The pipeline keeps each path as a bit of a uint64, so
// MaxPaths must not exceed 64.
const (
	MaxObjects = 500
	MaxPaths   = 50 // pages included
	MaxUnread  = 5
	maxPath    = 500 // bytes of one page's address; a glob may have as many
	maxEnv     = 255
)

// ErrNone says that a comment holds no command. It is no mistake, and gets no answer.
var ErrNone = errors.New("no command")

// Error is a command that can't be understood.
type Error struct {
	What    string // what is wrong; it holds text of the comment, so it must be quoted: see report.Quote
	Nearest string // the command that may have been meant, as "/purge retry"; "": there is no guess
}

func (e *Error) Error() string { return e.Public() }

// Public gives the words for the person who wrote the command.
func (e *Error) Public() string {
	if e.Nearest == "" {
		return e.What
	}
	return e.What + "; did you mean " + e.Nearest + "?"
}

// Parse reads the command that a comment begins with: its first line, and the lines
// directly below it that hold nothing but targets. It returns ErrNone if the comment does
// not begin with the word /purge, in small letters or capitals; so code, quotes and talk
// about the command are no commands. Every other error is an *Error.
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

// cutWord cuts the word /purge off a line, and one mark of punctuation after it.
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

// parser reads the words of a command one after the other.
type parser struct {
	words []string
	at    int // index of the next word
	c     Command
	first string // the first target; no verb may follow it
}

// next gives the next word. The caller knows that there is one.
func (p *parser) next() string {
	p.at++
	return p.words[p.at-1]
}

// list reads the lines that hold nothing but targets, and gives the rest. The first line
// with anything else ends the list, so that a remark below it can't change the command.
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

// instead is the command with another word in place of the word that was read last. It is
// a guess for the reply, and may be wrong elsewhere.
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

// word reads one word of the first line: an option, the verb if nothing stands before it,
// or a target. A word that is close to a verb is a mistake and no file: "/purge realese"
// must not purge.
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

// target reads a URL, a tag or a CP code. Anything else is a page or a path. Words that
// only look like one of them are mistakes, so that nothing else is purged than was meant.
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

// url reads a URL. A * in its path is a mistake: Akamai would purge the page with that
// very name.
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

// add adds an object once.
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

// path reads the name of a file or a glob, from the repository's root. A word that begins
// with a slash may be a page as well; the pipeline decides when it knows the files.
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

// cut shortens a long word, so that what is wrong with it still fits behind it.
func cut(word string) string {
	const most = 40
	if utf8.RuneCountInString(word) > most {
		return string([]rune(word)[:most]) + "…"
	}
	return word
}

// isFlag reports whether a word is an option. Phones write one long dash for two hyphens.
func isFlag(word string) bool {
	return strings.HasPrefix(word, "-") || strings.HasPrefix(word, "—") || strings.HasPrefix(word, "–")
}

// flag reads a word that begins with a dash, and for --env also its value.
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

// finish checks what can only be checked at the end: which options go with the verb.
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

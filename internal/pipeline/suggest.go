package pipeline

import (
	"context"
	"errors"
	"iter"
	"path"
	"strings"

	"github.com/purgebot/purgebot/internal/command"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// mostTried is how many offers are tried before none is made, and triedSteps how many
// steps each may take: trying an offer costs as much as the command itself.
const (
	mostTried  = 3
	triedSteps = commandSteps / 4
)

// firstThatWorks is the first of some commands that would purge everything that it names;
// "" if none would. A command that would only fail is never offered.
func (a *commandRun) firstThatWorks(ctx context.Context, offers ...string) (string, error) {
	for _, offer := range offers[:min(len(offers), mostTried)] {
		ok, err := a.works(ctx, offer)
		if err != nil || ok {
			return offer, err
		}
	}
	return "", nil
}

// works reports whether a command would do all that it says. It runs like the command
// itself up to the moment before anything is written, with a small share of the steps. An
// offer that can't be parsed, "" among them, does not work.
func (a *commandRun) works(ctx context.Context, offer string) (bool, error) {
	parsed, err := command.Parse(offer)
	if err != nil {
		return false, nil // "" too: there is no offer
	}
	if parsed.Verb != command.Purge {
		return true, nil
	}
	trial := *a
	trial.parsed, trial.steps = parsed, triedSteps
	where, answer, err := trial.place(ctx)
	if err != nil || answer != nil {
		return false, err
	}
	w, answer, err := trial.wanted(ctx, where)
	if err != nil || answer != nil {
		return false, err
	}
	defer w.Release()
	return w.Counts.Total() > 0 && !w.lacking.Any(), nil
}

// near guesses what a pattern that no file matches was meant to be, the likeliest first:
// a CP code, a page without its scheme, a folder, a file in other letters or without its
// extension, or a file of that name in another folder. Wildcards give no guess.
func near(files iter.Seq[string], pattern string) (offers []string) {
	if strings.ContainsAny(pattern, "*?[{") {
		return nil
	}
	host, _, _ := strings.Cut(pattern, "/")
	switch {
	case strings.Trim(pattern, "0123456789") == "":
		offers = append(offers, "/purge cpcode:"+pattern)
	case strings.Contains(host, ".") && host != pattern && !strings.HasPrefix(host, "."):
		offers = append(offers, "/purge https://"+pattern)
	}
	folder, file, elsewhere := false, "", ""
	pattern = strings.TrimSuffix(pattern, "/")
	for f := range files {
		folder = folder || strings.HasPrefix(f, pattern) && strings.HasPrefix(f[len(pattern):], "/")
		switch {
		case file == "" && (strings.EqualFold(f, pattern) || strings.EqualFold(strings.TrimSuffix(f, path.Ext(f)), pattern)):
			file = f
		case elsewhere == "" && path.Base(f) == path.Base(pattern):
			elsewhere = f
		}
	}
	if folder {
		offers = append(offers, "/purge "+quoteWord(pattern+"/**"))
	}
	for _, f := range []string{file, elsewhere} {
		if f != "" {
			offers = append(offers, "/purge "+quoteWord(f))
		}
	}
	return offers
}

// quoteWord quotes a word of a command if it holds what would end the word.
func quoteWord(word string) string {
	if strings.ContainsAny(word, " ,;") {
		return `"` + word + `"`
	}
	return word
}

// onHost makes pages of the environment's host objects of the command. If the environment
// has several hosts, the answer offers a command for each that policy allows. nil: the
// pages are objects now.
func (a *commandRun) onHost(where place, pages []string) *store.Answer {
	if len(pages) == 0 {
		return nil
	}
	var offers []string
	for _, host := range where.env.Hosts {
		urls, err := onOne(host, pages)
		if err != nil {
			return refuse(report.Quote(err.Error()) + ".")
		}
		if len(where.env.Hosts) == 1 {
			for _, u := range urls {
				a.parsed.Objects = append(a.parsed.Objects, command.Object{Kind: mapping.URL, Value: u})
			}
			return nil
		}
		if a.grant.PersonRefusal(mapping.URL, urls[0]) == "" && len(offers) < namesShown {
			offers = append(offers, report.Quote("/purge "+strings.Join(urls, " ")))
		}
	}
	if len(offers) == 0 {
		return refuse(report.Quote(pages[0]) + " has no host. Write the whole address, as the browser shows it.")
	}
	return refuse(report.Quote(where.env.Name) + " has several hosts. Use " + report.Either(offers) + ".")
}

// onOne gives the URLs of pages on one host. Its error is in words for the person.
func onOne(host string, pages []string) (urls []string, err error) {
	for _, page := range pages {
		u, err := command.PageURL(host, page)
		if err != nil {
			if wrong, ok := errors.AsType[*command.Error](err); ok {
				return nil, errors.New(wrong.What)
			}
			return nil, err
		}
		urls = append(urls, u)
	}
	return urls, nil
}

package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is purgebot completion. It prints a script for a shell. The script calls
// purgebot for the words at each completion, so it never gets out of date.
type completionCmd struct {
	Shell string   `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	Words []string `arg:"" optional:"" passthrough:"" hidden:"" help:"What is on the command line already."`
}

// bashCompletion also serves zsh, by way of bashcompinit. The words come after "--", so
// that kong does not take them for flags of completion itself.
const bashCompletion = `_purgebot() {
  COMPREPLY=($(compgen -W "$(purgebot completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _purgebot purgebot
`

const fishCompletion = `complete -c purgebot -a '(purgebot completion fish -- (commandline -opc)[2..] 2>/dev/null)'
`

// Run prints the script of a shell or, after "--", the words that may follow.
func (c *completionCmd) Run(kctx *kong.Context, std streams) error { //nolint:unparam // kong asks for an error
	if len(c.Words) > 0 && c.Words[0] == "--" {
		for _, word := range completions(kctx.Model.Node, c.Words[1:]) {
			fmt.Fprintln(std.out, word)
		}
		return nil
	}
	switch c.Shell {
	case "bash":
		fmt.Fprint(std.out, bashCompletion)
	case "zsh":
		fmt.Fprint(std.out, "#compdef purgebot\nautoload -U +X bashcompinit && bashcompinit\n"+bashCompletion)
	case "fish":
		fmt.Fprint(std.out, fishCompletion)
	}
	return nil
}

// completions returns the words that may follow the given ones. Right after a flag that
// takes a value these are the flag's values and nothing else. Otherwise they are the
// commands, the values of the next argument, and the flags.
func completions(node *kong.Node, before []string) (words []string) {
	args := 0
	for _, word := range before {
		child := childOf(node, word)
		switch {
		case child != nil:
			node = child
		case !strings.HasPrefix(word, "-"):
			args++
		}
	}
	flags := node.AllFlags(true)
	if n := len(before); n > 0 {
		for _, group := range flags {
			for _, f := range group {
				if "--"+f.Name == before[n-1] && !f.IsBool() {
					return f.EnumSlice()
				}
			}
		}
	}
	for _, c := range node.Children {
		if !c.Hidden {
			words = append(words, c.Name)
		}
	}
	if args < len(node.Positional) && node.Positional[args].Enum != "" {
		words = append(words, node.Positional[args].EnumSlice()...)
	}
	for _, group := range flags {
		for _, f := range group {
			words = append(words, "--"+f.Name)
		}
	}
	return words
}

// childOf finds a subcommand by its name; nil if there is none.
func childOf(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// helpCmd is purgebot help. It only makes the command appear in the help: [asFlag]
// replaces it before kong parses.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

// asFlag turns "help COMMAND" into "COMMAND --help", and a call without arguments into
// --help. The capped slice keeps append from overwriting the caller's arguments.
func asFlag(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	}
	return args
}

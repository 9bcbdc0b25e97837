package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is purgebot completion: a script for a shell, which asks
// purgebot itself for the words, so that it never is out of date.
type completionCmd struct {
	Shell string   `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	Words []string `arg:"" optional:"" passthrough:"" hidden:"" help:"What is on the command line already."`
}

const bashCompletion = `_purgebot() {
  COMPREPLY=($(compgen -W "$(purgebot completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _purgebot purgebot
`

const fishCompletion = `complete -c purgebot -a '(purgebot completion fish -- (commandline -opc)[2..] 2>/dev/null)'
`

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

// completions are the words that may come behind others: the values of a
// flag, commands, an argument's values, and flags.
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

func childOf(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// helpCmd is purgebot help.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

// asFlag turns "help COMMAND" into "COMMAND --help", and a bare call into
// --help: that is how the parser knows it.
func asFlag(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	}
	return args
}
